// SPDX-License-Identifier: Apache-2.0
// Codecs beside what the memory of this machine can move, in turn. Prints one JSON object.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "spillway/base/check.h"
#include "spillway/base/rng.h"
#include "spillway/kernels/coder.h"

namespace spillway::kernels {
namespace {

struct Options
{
  std::string codec = "q8";
  bool decode = false;
  int peers = 1;
  int threads = 1;
  std::uint64_t elements = 64ull << 20;
  int repeat = 5;
};

// Memory that is aligned as an allocator of tensors aligns it, and touched.
template <typename T>
struct Aligned
{
  explicit Aligned(std::uint64_t count)
      : data(static_cast<T*>(std::aligned_alloc(128, (count * sizeof(T) + 127) / 128 * 128))),
        count(count)
  {
    SPILLWAY_CHECK(data != nullptr, "no memory for ", count * sizeof(T), " bytes");
    std::memset(static_cast<void*>(data), 0, count * sizeof(T));
  }
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  absl::Span<T> span() { return {data, count}; }
  T* data;
  std::uint64_t count;
};

double seconds_of(const auto& work)
{
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// a = b + 3 c over 12 bytes an element, the measure that others use for memory.
double triad_bytes_per_s(Aligned<float>& a, const Aligned<float>& b, const Aligned<float>& c,
                         int threads)
{
  const double seconds = seconds_of([&] {
    std::vector<std::jthread> all;
    for (int t = 0; t < threads; ++t)
    {
      all.emplace_back([&, t] {
        const auto part = [&](int i) {
          return a.count * static_cast<std::uint64_t>(i) / static_cast<std::uint64_t>(threads);
        };
        float* const out = a.data;
        const float *const x = b.data, *const y = c.data;
        for (std::uint64_t i = part(t); i < part(t + 1); ++i) out[i] = x[i] + 3.0f * y[i];
      });
    }
  });
  return 12.0 * static_cast<double>(a.count) / seconds;
}

void fill(absl::Span<float> values, std::uint64_t seed)
{
  // Sums of uniform numbers: near enough to gradients, and fast.
  Rng rng(seed);
  for (std::size_t i = 0; i < values.size(); i += 2)
  {
    const std::uint64_t bits = rng.next();
    for (std::size_t j = 0; j < 2 && i + j < values.size(); ++j)
    {
      const std::uint64_t word = bits >> 32 * j;
      values[i + j] =
          static_cast<float>((word & 0x3FF) + (word >> 10 & 0x3FF) + (word >> 20 & 0x3FF)) * 1e-5f -
          0.015f;
    }
  }
}

struct Bench
{
  explicit Bench(const Options& options)
      : options(options),
        codec(*find_codec(options.codec)),
        values(options.elements),
        residual(options.elements),
        fresh(options.elements),
        bytes(layout_of(codec, options.elements)->payload_bytes)
  {
    fill(values.span(), 1);
    fill(residual.span(), 2);
    for (int p = 0; p < options.peers; ++p)
      payloads.push_back(std::make_unique<Aligned<std::byte>>(bytes));
    input.codec = codec;
    input.values = values.data;
    input.elements = options.elements;
    input.residual = residual.span();
    input.new_residual = fresh.span();
  }

  void encode_into(int peer, Backend backend, int threads)
  {
    const auto status =
        encode(input, payloads[static_cast<std::size_t>(peer)]->span(), {backend, threads});
    SPILLWAY_CHECK(status.ok(), status.status().ToString());
  }
  void decode_all(absl::Span<float> out, Backend backend, int threads)
  {
    std::vector<Contribution> from;
    for (const auto& payload : payloads) from.push_back({codec, payload->span(), 1.0f});
    const absl::Status status = kernels::decode(from, out, {backend, threads, false});
    SPILLWAY_CHECK(status.ok(), status.ToString());
  }

  const Options& options;
  Codec codec;
  Aligned<float> values, residual, fresh;
  std::uint64_t bytes;
  std::vector<std::unique_ptr<Aligned<std::byte>>> payloads;
  EncodeInput input;
};

// The answer before the time: the first tiles, against the specification.
void check(const Options& options)
{
  Options small = options;
  small.elements = 100 * kTileElements + 17;
  Bench ours(small), wanted(small);
  for (int p = 0; p < small.peers; ++p)
  {
    ours.encode_into(p, Backend::kSimd, options.threads);
    wanted.encode_into(p, Backend::kReference, 1);
    SPILLWAY_CHECK(std::memcmp(ours.payloads[static_cast<std::size_t>(p)]->data,
                               wanted.payloads[static_cast<std::size_t>(p)]->data, ours.bytes) == 0,
                   "payload differs from the specification's");
  }
  SPILLWAY_CHECK(std::memcmp(ours.fresh.data, wanted.fresh.data, 4 * small.elements) == 0);
  ours.decode_all(ours.fresh.span(), Backend::kSimd, options.threads);
  wanted.decode_all(wanted.fresh.span(), Backend::kReference, 1);
  SPILLWAY_CHECK(std::memcmp(ours.fresh.data, wanted.fresh.data, 4 * small.elements) == 0);
}

double median(std::vector<double> values)
{
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void run(const Options& options)
{
  check(options);
  Bench bench(options);
  for (int p = 0; p < options.peers; ++p) bench.encode_into(p, Backend::kSimd, options.threads);
  // What has to move: encode reads x and e and writes e' and the payload; decode reads payloads
  // and writes sums.
  const double elements = static_cast<double>(options.elements);
  const double payload = static_cast<double>(bench.bytes);
  const double moved =
      options.decode ? options.peers * payload + 4 * elements : 12 * elements + payload;
  std::vector<double> ours, triads, copies;
  for (int i = 0; i < options.repeat; ++i)
  {
    triads.push_back(triad_bytes_per_s(bench.fresh, bench.values, bench.residual, options.threads));
    ours.push_back(seconds_of([&] {
      if (options.decode)
        bench.decode_all(bench.fresh.span(), Backend::kSimd, options.threads);
      else
        bench.encode_into(0, Backend::kSimd, options.threads);
    }));
    copies.push_back(2.0 * 4 * elements / seconds_of([&] {
                       std::memcpy(bench.fresh.data, bench.values.data, 4 * options.elements);
                     }));
  }
  std::printf(
      "{\"input_gib_per_s\": %.3f, \"moved_bytes_per_s\": %.4g, \"triad_bytes_per_s\": %.4g, "
      "\"share_of_triad\": %.4f, \"memcpy_bytes_per_s\": %.4g, \"seconds\": %.5f}\n",
      4 * elements / median(ours) / (1ull << 30), moved / median(ours), median(triads),
      moved / median(ours) / median(triads), median(copies), median(ours));
}

std::uint64_t number(const char* text)
{
  std::uint64_t value = 0;
  const char* const end = text + std::strlen(text);
  SPILLWAY_CHECK(std::from_chars(text, end, value).ptr == end && value > 0, "not a number: ", text);
  return value;
}

Options parse(int argc, char** argv)
{
  Options options;
  for (int i = 1; i + 1 < argc; i += 2)
  {
    const std::string name = argv[i];
    if (name == "--codec")
      options.codec = argv[i + 1];
    else if (name == "--decode")
      options.decode = true, options.peers = static_cast<int>(number(argv[i + 1]));
    else if (name == "--threads")
      options.threads = static_cast<int>(number(argv[i + 1]));
    else if (name == "--elements")
      options.elements = number(argv[i + 1]);
    else if (name == "--repeat")
      options.repeat = static_cast<int>(number(argv[i + 1]));
    else
      SPILLWAY_CHECK(false, "unknown option ", name);
  }
  SPILLWAY_CHECK(find_codec(options.codec).ok(), find_codec(options.codec).status().ToString());
  return options;
}

}  // namespace
}  // namespace spillway::kernels

int main(int argc, char** argv)
{
  spillway::kernels::run(spillway::kernels::parse(argc, argv));
  return 0;
}
