// SPDX-License-Identifier: Apache-2.0
#include "codec_errors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "spillway/base/status.h"
#include "spillway/kernels/frame.h"

namespace spillway {
namespace {

using namespace kernels;

absl::StatusOr<std::uint64_t> coded(Codec codec, const EncodeInput& from, int threads,
                                    std::vector<float>& decoded)
{
  EncodeInput input = from;
  input.codec = codec;
  SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(codec, input.elements));
  std::vector<std::byte> payload(layout.payload_bytes);
  SPILLWAY_ASSIGN_OR_RETURN(const Encoded result,
                            encode(input, absl::MakeSpan(payload), {.threads = threads}));
  const Contribution only{codec, payload, 1.0f};
  SPILLWAY_RETURN_IF_ERROR(decode({&only, 1}, absl::MakeSpan(decoded), {.threads = threads}));
  return result.poisoned;
}

void compare(const std::vector<float>& values, const std::vector<float>& decoded, CodecErrors& out)
{
  double signal = 0, noise = 0, both = 0, other = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
  {
    const double v = values[i], d = decoded[i];
    if (!std::isfinite(v) || !std::isfinite(d)) continue;
    signal += v * v;
    noise += (v - d) * (v - d);
    both += v * d;
    other += d * d;
    out.max_error = std::max(out.max_error, std::abs(v - d));
  }
  out.snr_db =
      noise > 0 ? 10 * std::log10(signal / noise) : std::numeric_limits<double>::infinity();
  out.cosine = signal > 0 && other > 0 ? both / std::sqrt(signal * other) : 0;
}

}  // namespace

absl::StatusOr<std::vector<CodecErrors>> codec_errors(ByteSpan values, SourceType type, int threads)
{
  const std::size_t element = size_bytes(type);
  if (values.empty()) return absl::InvalidArgumentError("there are no elements to look at");
  if (values.size() % element != 0)
    return absl::InvalidArgumentError(absl::StrCat(values.size(),
                                                   " bytes are no whole number of elements of ",
                                                   element, " bytes; is --type right?"));
  const EncodeInput input{
      .codec = {}, .type = type, .values = values.data(), .elements = values.size() / element};
  std::vector<float> exact(input.elements), decoded(input.elements);
  SPILLWAY_RETURN_IF_ERROR(coded({CodecId::kRaw32}, input, threads, exact).status());
  std::vector<CodecErrors> out;
  for (const Codec codec : all_codecs())
  {
    CodecErrors& errors = out.emplace_back(CodecErrors{.codec = codec});
    SPILLWAY_ASSIGN_OR_RETURN(errors.frame_bytes, frame_bytes(codec, input.elements));
    errors.ratio = static_cast<double>(input.elements * sizeof(float)) /
                   static_cast<double>(errors.frame_bytes);
    SPILLWAY_ASSIGN_OR_RETURN(errors.poisoned, coded(codec, input, threads, decoded));
    compare(exact, decoded, errors);
  }
  return out;
}

std::string to_text(const std::vector<CodecErrors>& errors)
{
  std::string text = "codec     frame bytes    ratio   SNR dB    cosine  max error  poisoned\n";
  for (const CodecErrors& e : errors)
    absl::StrAppendFormat(&text, "%-7s %13d %8.2f %8.2f  %8.6f  %9.3g  %8d\n", name_of(e.codec.id),
                          e.frame_bytes, e.ratio, e.snr_db, e.cosine, e.max_error, e.poisoned);
  return text;
}

std::string to_json(const std::vector<CodecErrors>& errors)
{
  std::string text;
  for (const CodecErrors& e : errors)
  {
    // JSON has no infinity: no error at all is null.
    const std::string snr = std::isfinite(e.snr_db) ? absl::StrFormat("%.4f", e.snr_db) : "null";
    absl::StrAppend(&text, text.empty() ? "" : ",",
                    absl::StrFormat("{\"codec\":\"%s\",\"version\":%d,\"frame_bytes\":%d,"
                                    "\"ratio\":%.6g,\"snr_db\":%s,\"cosine\":%.9g,"
                                    "\"max_error\":%.9g,\"poisoned\":%d}",
                                    name_of(e.codec.id), e.codec.version, e.frame_bytes, e.ratio,
                                    snr, e.cosine, e.max_error, e.poisoned));
  }
  return absl::StrCat("{\"codecs\":[", text, "]}");
}

}  // namespace spillway
