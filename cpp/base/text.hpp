// SPDX-License-Identifier: MIT
/// Numbers in messages.
#pragma once

#include <array>
#include <charconv>
#include <string>

namespace schuss {

/// The shortest text that reads back as the same number of its type.
template <class T>
std::string shortest_text(T value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

}  // namespace schuss
