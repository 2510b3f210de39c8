// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "spillway/base/hash.h"

namespace spillway {

// A text that never changes, so that its copies can share it and its hash: for what stands in one
// list of thousands after the other, where copying and comparing it would be most of the work.
// Copies may be in any threads.
class SharedText
{
 public:
  SharedText() = default;
  // Implicit, because it stands where a string would.
  SharedText(std::string text)
      : shared_(text.empty() ? nullptr : std::make_shared<const Shared>(std::move(text)))
  {
  }
  SharedText(const char* text) : SharedText(std::string(text)) {}

  const std::string& str() const { return shared().text; }
  operator const std::string&() const { return str(); }
  bool empty() const { return str().empty(); }
  std::size_t size() const { return str().size(); }
  // content_hash() of the text.
  std::uint64_t hash() const { return shared().hash; }
  friend bool operator==(const SharedText& a, const SharedText& b)
  {
    return a.shared_ == b.shared_ || a.str() == b.str();
  }

 private:
  struct Shared
  {
    explicit Shared(std::string its_text)
        : text(std::move(its_text)), hash(content_hash(as_bytes(text)))
    {
    }
    std::string text;
    std::uint64_t hash;
  };
  const Shared& shared() const
  {
    if (shared_) return *shared_;
    static const Shared empty{""};
    return empty;
  }

  std::shared_ptr<const Shared> shared_;  // none: empty
};

}  // namespace spillway
