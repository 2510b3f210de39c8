// SPDX-License-Identifier: Apache-2.0
#include "group_suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "spillway/base/rng.h"

namespace spillway::comm {

Team::Team(const SuiteBackend& backend, std::uint32_t size, PeerEvents events)
{
  for (std::uint32_t rank = 0; rank < size; ++rank)
  {
    TransportOptions options;
    options.events = events;
    auto transport = backend.make(options);
    EXPECT_TRUE(transport.ok()) << transport.status();
    seats_.emplace_back();
    seats_.back().transport = *std::move(transport);
  }
}

Team::~Team()
{
  for (Seat& seat : seats_) seat.group.reset();
}

GroupSpec Team::spec(Number number, std::uint32_t rank) const
{
  GroupSpec spec{.lineage = Lineage(7), .number = number, .rank = Rank(rank), .members = {}};
  for (std::uint32_t peer = 0; peer < size(); ++peer)
    spec.members.push_back(Member{WorkerId(100 + peer), seats_[peer].transport->address()});
  return spec;
}

void Team::connect(Number number)
{
  everybody([&](std::uint32_t rank) {
    Seat& own = seats_[rank];
    own.group.reset();
    ConnectOutcome outcome = own.transport->connect(spec(number, rank), *own.abort, soon());
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    own.group = std::move(outcome.group);
  });
}

void Team::everybody(const std::function<void(std::uint32_t rank)>& body)
{
  std::vector<std::thread> threads;
  for (std::uint32_t rank = 0; rank < size(); ++rank)
    threads.emplace_back([&body, rank] { body(rank); });
  for (std::thread& thread : threads) thread.join();
}

OpName name(std::uint64_t step, std::uint32_t index)
{
  return OpName{.epoch = Number(1), .step = StepId(step), .index = index};
}

MutableByteSpan contribute(Group& group, ByteSpan bytes, std::size_t shift)
{
  auto memory = group.allocate(bytes.size() + shift);
  EXPECT_TRUE(memory.ok()) << memory.status();
  const MutableByteSpan span = memory->subspan(shift);
  if (!bytes.empty()) std::memcpy(span.data(), bytes.data(), bytes.size());
  return span;
}

namespace {

// The definition in group.h, written down a second time for one element and with the compiler's
// own half precision, so that the kernels have something independent to agree with.
double fold(double a, double b, ReduceOp op, bool single)
{
  if (op == ReduceOp::kSum) return single ? static_cast<float>(a) + static_cast<float>(b) : a + b;
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  if (op == ReduceOp::kMin) return b < a ? b : a;
  return b > a ? b : a;
}

float from_bf16(std::uint16_t bits)
{
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

std::uint16_t to_bf16(float value)
{
  if (std::isnan(value)) return 0x7fc0;
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const std::uint32_t low = bits & 0xffffU;
  std::uint32_t high = bits >> 16;
  if (low > 0x8000U || (low == 0x8000U && (high & 1U) != 0)) ++high;
  return static_cast<std::uint16_t>(high);
}

template <typename Stored>
Stored load(const std::vector<std::byte>& bytes, std::size_t index)
{
  Stored value;
  std::memcpy(&value, bytes.data() + index * sizeof(Stored), sizeof(Stored));
  return value;
}

template <typename Stored>
void store(std::vector<std::byte>& bytes, std::size_t index, Stored value)
{
  std::memcpy(bytes.data() + index * sizeof(Stored), &value, sizeof(Stored));
}

template <typename Int>
Int fold_integer(Int a, Int b, ReduceOp op)
{
  using Wide = std::make_unsigned_t<Int>;
  if (op == ReduceOp::kSum) return static_cast<Int>(static_cast<Wide>(a) + static_cast<Wide>(b));
  return op == ReduceOp::kMin ? std::min(a, b) : std::max(a, b);
}

template <typename Stored, typename Widen, typename Narrow>
std::vector<std::byte> fold_floats(const Contributions& in, ReduceOp op, bool single, Widen widen,
                                   Narrow narrow)
{
  std::vector<std::byte> out(in[0].size());
  for (std::size_t i = 0; i < out.size() / sizeof(Stored); ++i)
  {
    double value = widen(load<Stored>(in[0], i));
    for (std::size_t rank = 1; rank < in.size(); ++rank)
      value = fold(value, widen(load<Stored>(in[rank], i)), op, single);
    store<Stored>(out, i, narrow(value));
  }
  return out;
}

template <typename Stored>
std::vector<std::byte> fold_integers(const Contributions& in, ReduceOp op)
{
  std::vector<std::byte> out = in[0];
  for (std::size_t i = 0; i < out.size() / sizeof(Stored); ++i)
    for (std::size_t rank = 1; rank < in.size(); ++rank)
      store<Stored>(out, i, fold_integer(load<Stored>(out, i), load<Stored>(in[rank], i), op));
  return out;
}

}  // namespace

std::vector<std::byte> expected_reduction(const Contributions& in, DType dtype, ReduceOp op)
{
  const auto quiet = [](double value) -> double {
    return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
  };
  switch (dtype)
  {
    case DType::kFp64:
      return fold_floats<double>(
          in, op, false, [](double v) { return v; }, quiet);
    case DType::kFp32:
      return fold_floats<float>(
          in, op, true, [](float v) { return v; },
          [&](double v) { return static_cast<float>(quiet(v)); });
    case DType::kBf16:
      return fold_floats<std::uint16_t>(in, op, true, from_bf16,
                                        [](double v) { return to_bf16(static_cast<float>(v)); });
    case DType::kFp16:
      return fold_floats<_Float16>(
          in, op, true, [](_Float16 v) { return static_cast<float>(v); },
          [](double v) { return static_cast<_Float16>(static_cast<float>(v)); });
    case DType::kInt32:
      return fold_integers<std::int32_t>(in, op);
    case DType::kInt64:
      return fold_integers<std::int64_t>(in, op);
  }
  return {};
}

Contributions random_contributions(Rng& rng, std::uint32_t size, std::uint64_t count, DType dtype)
{
  Contributions all(size);
  for (auto& bytes : all)
  {
    bytes.resize(count * size_bytes(dtype));
    for (std::uint64_t i = 0; i < count; ++i)
    {
      const double value = (rng.unit() - 0.5) * std::ldexp(1.0, static_cast<int>(rng.below(12)));
      if (dtype == DType::kFp64) store(bytes, i, value);
      if (dtype == DType::kFp32) store(bytes, i, static_cast<float>(value));
      if (dtype == DType::kBf16) store(bytes, i, to_bf16(static_cast<float>(value)));
      if (dtype == DType::kFp16) store(bytes, i, static_cast<_Float16>(value));
      if (dtype == DType::kInt32) store(bytes, i, static_cast<std::int32_t>(rng.next()));
      if (dtype == DType::kInt64) store(bytes, i, static_cast<std::int64_t>(rng.next()));
    }
  }
  return all;
}

}  // namespace spillway::comm
