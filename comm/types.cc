// SPDX-License-Identifier: Apache-2.0
#include "spillway/comm/types.h"

#include <algorithm>

#include "spillway/base/check.h"

namespace spillway::comm {

std::size_t size_bytes(DType dtype)
{
  switch (dtype)
  {
    case DType::kFp32:
    case DType::kInt32:
      return 4;
    case DType::kFp64:
    case DType::kInt64:
      return 8;
    case DType::kBf16:
    case DType::kFp16:
      return 2;
  }
  SPILLWAY_CHECK(false, "no such element type: ", static_cast<int>(dtype));
  return 0;
}

absl::string_view name_of(DType dtype)
{
  switch (dtype)
  {
    case DType::kFp32:
      return "fp32";
    case DType::kFp64:
      return "fp64";
    case DType::kBf16:
      return "bf16";
    case DType::kFp16:
      return "fp16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
  }
  return "unknown type";
}

absl::string_view name_of(ReduceOp op)
{
  switch (op)
  {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMin:
      return "min";
    case ReduceOp::kMax:
      return "max";
  }
  return "unknown operation";
}

ShardRange shard_range(std::uint64_t count, std::uint32_t size, Rank rank)
{
  SPILLWAY_CHECK(rank.value() < size, "rank ", rank.value(), " of ", size);
  // The first `count % size` members hold one element more; no product that could overflow.
  const std::uint64_t base = count / size;
  const std::uint64_t extra = count % size;
  const std::uint64_t r = rank.value();
  const std::uint64_t begin = r * base + std::min(r, extra);
  return {.begin = begin, .end = begin + base + (r < extra ? 1 : 0)};
}

}  // namespace spillway::comm
