// The one exception type of Trireme: a mistake of the user's, in a file, a key, an argument.
#pragma once

#include <stdexcept>
#include <string>

namespace trireme {

// Reads "WHERE: WHAT; REMEDY", on one line.  Thrown before anything is written; caught once, in main, which
// prints the line and exits with code 2.
class UserError : public std::runtime_error {
 public:
  // `where` is a file, file:row, config key or option; `what` the fact; `remedy` what to do about it.
  UserError(const std::string& where, const std::string& what, const std::string& remedy)
      : std::runtime_error(where + ": " + what + (remedy.empty() ? "" : "; " + remedy)) {}
};

}  // namespace trireme
