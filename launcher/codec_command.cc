// SPDX-License-Identifier: Apache-2.0
// `spillway codec`: what the codecs make of a user's own tensors, and frames as files.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codec_errors.h"
#include "commands.h"
#include "operator_flags.h"
#include "spillway/base/status.h"
#include "spillway/kernels/frame.h"
#include "spillway/launcher/exit_code.h"
#include "spillway/launcher/flag_table.h"

namespace spillway {
namespace {

using namespace kernels;

constexpr OperatorFlag kFlags[] = {
    {"codec", "NAME", "of encode: q8 (the default), q4, q2, tk32, tk64, tk128, raw16 or raw32"},
    {"type", "TYPE", "of the elements of a raw FILE: fp32 (the default), bf16 or fp16"},
    {"output", "FILE", "what encode or decode writes"},
    {"threads", "N", "that work (1)"},
    {"json", nullptr, "of info and verify: one JSON object instead of text"}};
constexpr char kUsage[] = "spillway codec info|encode|decode|verify FILE [flags]";
constexpr char kAbout[] =
    "info     what each codec makes of a raw tensor, without error feedback\n"
    "encode   a raw tensor to a frame\n"
    "decode   a frame to a raw tensor of fp32\n"
    "verify   whether a frame is whole, and its payload one that an encoder can have written\n"
    "\nEnds with 0, 2 for wrong arguments, 71 if a file cannot be written, 76 for a frame that is\n"
    "damaged or of another version, 127 if there is no such file.\n";

absl::StatusOr<std::vector<std::byte>> read_file(const std::string& path)
{
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    return absl::NotFoundError(
        absl::StrCat(path, ": cannot be read: ", error ? error.message() : strerror(errno)));
  std::vector<std::byte> bytes(size);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (file.gcount() != static_cast<std::streamsize>(size))
    return absl::NotFoundError(
        absl::StrCat(path, ": ended after ", file.gcount(), " of ", size, " bytes"));
  return bytes;
}

absl::Status write_file(const std::string& path, ByteSpan bytes)
{
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be written: ", strerror(errno)));
}

absl::StatusOr<SourceType> type_of(const OperatorArguments& given)
{
  const std::string name = given.value("type", "fp32");
  if (name == "fp32") return SourceType::kFp32;
  if (name == "bf16") return SourceType::kBf16;
  if (name == "fp16") return SourceType::kFp16;
  return absl::InvalidArgumentError(absl::StrCat("--type ", name, ": must be fp32, bf16 or fp16"));
}

absl::StatusOr<int> threads_of(const OperatorArguments& given)
{
  int threads = 0;
  const std::string text = given.value("threads", "1");
  if (absl::SimpleAtoi(text, &threads) && threads >= 1 && threads <= 1024) return threads;
  return absl::InvalidArgumentError(
      absl::StrCat("--threads ", text, ": must be between 1 and 1024"));
}

absl::StatusOr<std::string> output_of(const OperatorArguments& given)
{
  if (given.has("output")) return given.value("output", "");
  return absl::InvalidArgumentError(absl::StrCat(given.words[0], " needs --output FILE"));
}

absl::Status info(const OperatorArguments& given)
{
  SPILLWAY_ASSIGN_OR_RETURN(const SourceType type, type_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const int threads, threads_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::byte> values, read_file(given.words[1]));
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<CodecErrors> errors,
                            codec_errors(values, type, threads));
  std::printf("%s\n", (given.has("json") ? to_json(errors) : to_text(errors)).c_str());
  return absl::OkStatus();
}

absl::Status encode_file(const OperatorArguments& given)
{
  SPILLWAY_ASSIGN_OR_RETURN(const SourceType type, type_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const int threads, threads_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const Codec codec, find_codec(given.value("codec", "q8")));
  SPILLWAY_ASSIGN_OR_RETURN(const std::string output, output_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::byte> values, read_file(given.words[1]));
  if (values.size() % size_bytes(type) != 0)
    return absl::InvalidArgumentError(absl::StrCat(given.words[1], ": ", values.size(),
                                                   " bytes are no whole number of elements of ",
                                                   size_bytes(type), " bytes; is --type right?"));
  const std::uint64_t elements = values.size() / size_bytes(type);
  SPILLWAY_ASSIGN_OR_RETURN(const std::uint64_t bytes, frame_bytes(codec, elements));
  std::vector<std::byte> frame(bytes);
  const EncodeInput input{
      .codec = codec, .type = type, .values = values.data(), .elements = elements};
  SPILLWAY_ASSIGN_OR_RETURN(
      const Encoded encoded,
      encode(input, absl::MakeSpan(frame).subspan(kFrameHeaderBytes), {.threads = threads}));
  FrameHeader header{.codec = codec, .source = type, .elements = elements};
  header.poisoned = encoded.poisoned;
  SPILLWAY_RETURN_IF_ERROR(seal_frame(header, absl::MakeSpan(frame)));
  SPILLWAY_RETURN_IF_ERROR(write_file(output, frame));
  std::printf("%s\n",
              absl::StrCat(output, ": ", elements, " elements in ", bytes, " bytes").c_str());
  return absl::OkStatus();
}

absl::Status decode_file(const OperatorArguments& given)
{
  SPILLWAY_ASSIGN_OR_RETURN(const int threads, threads_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const std::string output, output_of(given));
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, read_file(given.words[1]));
  SPILLWAY_ASSIGN_OR_RETURN(const OpenedFrame frame, open_frame(bytes));
  std::vector<float> out(frame.header.elements);
  const Contribution only{frame.header.codec, frame.payload, 1.0f};
  SPILLWAY_RETURN_IF_ERROR(decode({&only, 1}, absl::MakeSpan(out), {.threads = threads}));
  return write_file(output, std::as_bytes(std::span<const float>(out)));
}

absl::Status verify_file(const OperatorArguments& given)
{
  SPILLWAY_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, read_file(given.words[1]));
  SPILLWAY_ASSIGN_OR_RETURN(const OpenedFrame frame, open_frame(bytes));
  const FrameHeader& header = frame.header;
  SPILLWAY_RETURN_IF_ERROR(verify(header.codec, frame.payload, header.elements));
  const auto in = [&](const auto& format) {
    return absl::StrFormat(format, name_of(header.codec.id), header.codec.version, header.elements,
                           header.poisoned);
  };
  const std::string text =
      given.has("json") ? in(absl::ParsedFormat<'s', 'd', 'd', 'd'>(
                              "{\"codec\":\"%s\",\"version\":%d,\"elements\":%d,\"poisoned\":%d}"))
                        : in(absl::ParsedFormat<'s', 'd', 'd', 'd'>(
                              "%s version %d, %d elements, %d poisoned: whole and well-formed"));
  std::printf("%s\n", text.c_str());
  return absl::OkStatus();
}

absl::Status act(const OperatorArguments& given)
{
  if (given.words.size() != 2) return absl::InvalidArgumentError(absl::StrCat("usage: ", kUsage));
  const std::string& name = given.words[0];
  if (name == "info") return info(given);
  if (name == "encode") return encode_file(given);
  if (name == "decode") return decode_file(given);
  if (name == "verify") return verify_file(given);
  return absl::InvalidArgumentError(
      absl::StrCat("there is no codec command '", name, "'; did you mean '",
                   nearest_name(name, {"info", "encode", "decode", "verify"}), "'?"));
}

}  // namespace

int codec_command(const std::vector<std::string>& arguments)
{
  const absl::StatusOr<OperatorArguments> given = read_operator_flags("codec", kFlags, arguments);
  absl::Status status = given.status();
  if (given.ok() && given->has("help"))
  {
    std::fputs(operator_help(kUsage, kAbout, kFlags).c_str(), stdout);
    return 0;
  }
  if (given.ok()) status = act(*given);
  if (status.ok()) return 0;
  std::fprintf(stderr, "spillway codec: %s\n", std::string(status.message()).c_str());
  return to_int(exit_code_for(status));
}

}  // namespace spillway
