// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <string>

namespace spillway::internal {

// The shortest text that stands for this number and no other: what workers compare must not be
// equal because it was rounded.
inline std::string exact(double value)
{
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace spillway::internal
