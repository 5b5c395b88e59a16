// A reading as a page to look at: a map of each head, and who looks at whom under the pointer.
#pragma once

#include <string>

#include "trainer/attention_maps.h"

namespace trireme {

struct AttentionPage {
  std::string title;     // of the model
  std::string subtitle;  // which checkpoint
  std::string text;      // that was read; of a translator the source
  std::string target;    // of a translator; empty else
  std::string raw_file;  // name of the raw numbers, in the folder of the page
};

// One HTML file that needs nothing else: no network, and of other files only the link to the raw numbers,
// which need not be there to look at the page.  Probabilities are in it as bytes of 255 sqrt(p), and so to
// about 0.4 % of 1 or better.
std::string attention_page(const AttentionReading& reading, const AttentionPage& page);

}  // namespace trireme
