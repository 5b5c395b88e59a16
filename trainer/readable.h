// Numbers as people read them.
#pragma once

#include <string>

namespace trireme {

std::string readable_count(double count);                           // 950, 12.4k, 3.07M, 1.5G
std::string readable_bytes(double count);                           // 950 B, 12.4 kB, 3.07 MB, 1.50 GB
std::string readable_duration(double seconds);                      // 8s, 2m 31s, 5h 04m, 3d 07h
std::string readable_share(double share);                           // 71%
std::string readable_number(double value, int significant_digits);  // 3.2104, 6e-4, nan

}  // namespace trireme
