// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "inputs.h"
#include "spillway/base/environment.h"

// Committed bytes of version 1 of every codec: what was written once is written for ever. The files
// and their sums never change; another meaning of bytes is another version and other files. With
// SPILLWAY_WRITE_GOLDEN=1 files that do not exist yet are written.
namespace spillway::kernels {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCount = kTileElements + 1300;

fs::path folder()
{
  return environment("SPILLWAY_GOLDEN").value_or("tests/golden");
}

std::string read_file(const fs::path& path)
{
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string as_text(const std::vector<float>& values)
{
  return {reinterpret_cast<const char*>(values.data()), 4 * values.size()};
}

// The file's bytes; first writes them if that was asked for.
std::string golden(const std::string& name, const std::string& bytes)
{
  const fs::path path = folder() / name;
  if (environment("SPILLWAY_WRITE_GOLDEN") && !fs::exists(path))
    std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_TRUE(fs::exists(path)) << path;
  return read_file(path);
}

std::vector<float> numbers(const std::string& bytes)
{
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), 4 * out.size());
  return out;
}

// Every kind of input in one run, in pieces that blocks of all sizes straddle.
std::vector<float> patchwork(std::uint64_t seed)
{
  std::vector<float> out;
  for (std::size_t piece = 0; out.size() < kCount; ++piece)
  {
    Kind kind = kAllKinds[piece % std::size(kAllKinds)];
    // A poisoned tile says nothing of TK: the first stays whole.
    if (kind == Kind::kPoison && out.size() < kTileElements) kind = Kind::kNormal;
    const std::vector<float> values = make_values(kind, 192 + 64 * (piece % 3), seed + piece);
    out.insert(out.end(), values.begin(), values.end());
  }
  out.resize(kCount);
  return out;
}

TEST(Golden, BytesOfVersion1NeverChange)
{
  const std::vector<float> values = numbers(golden("values.f32", as_text(patchwork(1))));
  const std::vector<float> residual =
      numbers(golden("residual.f32", as_text(make_values(Kind::kHeavyTails, kCount, 50))));
  ASSERT_EQ(values.size(), kCount);
  ASSERT_EQ(residual.size(), kCount);
  for (const Codec codec : all_codecs())
  {
    for (const Backend backend : {Backend::kReference, Backend::kSimd})
    {
      const EncodeCall call = must_encode(codec, values, residual, {backend, 1}, 0.95f);
      const std::string name = std::string(name_of(codec.id)) + ".v1.";
      EXPECT_EQ(call.payload, golden(name + "payload", call.payload)) << name;
      EXPECT_EQ(as_text(call.new_residual), golden(name + "residual", as_text(call.new_residual)));
      const std::vector<float> decoded = must_decode(codec, call.payload, kCount, {backend});
      EXPECT_EQ(as_text(decoded), golden(name + "decoded", as_text(decoded))) << name;
    }
  }
}

}  // namespace
}  // namespace spillway::kernels
