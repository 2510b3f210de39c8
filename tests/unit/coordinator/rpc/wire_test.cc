// SPDX-License-Identifier: Apache-2.0
// Messages are filled by reflection, so that a field that a conversion forgets is seen here; a
// field that only the plain struct has does not compile (structured bindings in the conversions).
#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <functional>

#include "rpc/node_wire.h"
#include "rpc/report_wire.h"
#include "spillway/base/rng.h"

namespace spillway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr int kRounds = 300;

std::string random_bytes(Rng& rng)
{
  std::string text(rng.below(12), 0);
  for (char& byte : text) byte = static_cast<char>(rng.below(256));
  return text;
}

void fill(Message& message, Rng& rng);

void fill_field(Message& message, const FieldDescriptor& field, Rng& rng)
{
  const Reflection& with = *message.GetReflection();
  // Every int32 is a status code, an exit code or a signal: all may be 1 to 16.
  const auto small = [&] { return static_cast<std::int32_t>(1 + rng.below(16)); };
  const auto any = [&] { return rng.next() >> rng.below(64); };
  const auto number = [&] { return static_cast<std::uint32_t>(any()); };
  const auto choice = [&] {
    return field.enum_type()->value(
        static_cast<int>(rng.below(static_cast<std::uint64_t>(field.enum_type()->value_count()))));
  };
  const auto real = [&] { return rng.unit() * 1e9 - 5e8; };
  const auto span = [&] { return static_cast<std::int64_t>(any()); };
#define SPILLWAY_FILL(set)                                                       \
  switch (field.cpp_type())                                                      \
  {                                                                              \
    case FieldDescriptor::CPPTYPE_UINT64:                                        \
      return with.set##UInt64(&message, &field, any());                          \
    case FieldDescriptor::CPPTYPE_INT64:                                         \
      return with.set##Int64(&message, &field, span());                          \
    case FieldDescriptor::CPPTYPE_UINT32:                                        \
      return with.set##UInt32(&message, &field, number());                       \
    case FieldDescriptor::CPPTYPE_INT32:                                         \
      return with.set##Int32(&message, &field, small());                         \
    case FieldDescriptor::CPPTYPE_BOOL:                                          \
      return with.set##Bool(&message, &field, rng.chance(0.5));                  \
    case FieldDescriptor::CPPTYPE_DOUBLE:                                        \
      return with.set##Double(&message, &field, real());                         \
    case FieldDescriptor::CPPTYPE_ENUM:                                          \
      return with.set##Enum(&message, &field, choice());                         \
    case FieldDescriptor::CPPTYPE_STRING:                                        \
      return with.set##String(&message, &field, random_bytes(rng));              \
    default:                                                                     \
      FAIL() << field.full_name() << " has a type that this test does not know"; \
  }
  if (field.is_repeated())
  {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return fill(*with.AddMessage(&message, &field), rng);
    SPILLWAY_FILL(Add)
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
    return fill(*with.MutableMessage(&message, &field), rng);
  SPILLWAY_FILL(Set)
#undef SPILLWAY_FILL
}

void fill(Message& message, Rng& rng)
{
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.real_oneof_decl_count(); ++i)
  {
    const OneofDescriptor& kind = *type.oneof_decl(i);
    fill_field(
        message,
        *kind.field(static_cast<int>(rng.below(static_cast<std::uint64_t>(kind.field_count())))),
        rng);
  }
  for (int i = 0; i < type.field_count(); ++i)
  {
    const FieldDescriptor& field = *type.field(i);
    if (field.real_containing_oneof() != nullptr) continue;
    if (field.has_optional_keyword() && rng.chance(0.5)) continue;
    const std::uint64_t times = field.is_repeated() ? rng.below(4) : 1;
    for (std::uint64_t n = 0; n < times; ++n) fill_field(message, field, rng);
  }
}

// Calls `visit` with every singular message field that is set, everywhere inside.
void each_part(Message& message, const std::function<void(Message&, const FieldDescriptor&)>& visit)
{
  const Reflection& with = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  with.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields)
  {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated())
    {
      visit(message, *field);
      if (!with.HasField(message, field)) continue;
      each_part(*with.MutableMessage(&message, field), visit);
    }
    for (int i = 0; field->is_repeated() && i < with.FieldSize(message, field); ++i)
      each_part(*with.MutableRepeatedMessage(&message, field, i), visit);
  }
}

template <typename Wire, typename Plain>
void round_trips(std::uint64_t seed)
{
  Rng rng(seed);
  for (int round = 0; round < kRounds; ++round)
  {
    Wire first;
    fill(first, rng);
    Plain plain;
    const absl::Status status = wire::from_wire(first, &plain);
    ASSERT_TRUE(status.ok()) << status << "\n" << first.DebugString();
    Wire second;
    wire::to_wire(plain, &second);
    ASSERT_EQ(first.SerializeAsString(), second.SerializeAsString())
        << first.DebugString() << "\nbecame\n"
        << second.DebugString();
  }
}

// Each part that is not marked optional is missed, and the message refused.
template <typename Wire, typename Plain>
void misses_each_part(std::uint64_t seed)
{
  Rng rng(seed);
  int refused = 0;
  for (int round = 0; round < kRounds; ++round)
  {
    Wire whole;
    fill(whole, rng);
    int parts = 0;
    each_part(whole, [&](Message&, const FieldDescriptor&) { ++parts; });
    if (parts == 0) continue;
    const int chosen = static_cast<int>(rng.below(static_cast<std::uint64_t>(parts)));
    int at = 0;
    const FieldDescriptor* cleared = nullptr;
    Wire broken = whole;
    each_part(broken, [&](Message&, const FieldDescriptor& field) {
      if (at++ == chosen) cleared = &field;
    });
    at = 0;
    each_part(broken, [&](Message& owner, const FieldDescriptor& field) {
      if (at++ == chosen) owner.GetReflection()->ClearField(&owner, &field);
    });
    Plain plain;
    const absl::Status status = wire::from_wire(broken, &plain);
    EXPECT_EQ(status.ok(), cleared->has_optional_keyword()) << cleared->full_name();
    refused += status.ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 10);
}

TEST(Wire, WorkerMessages)
{
  round_trips<wire::WorkerMessage, coordinator::WorkerMessage>(1);
  misses_each_part<wire::WorkerMessage, coordinator::WorkerMessage>(2);
}

TEST(Wire, WorkerOrders)
{
  round_trips<wire::WorkerOrder, coordinator::WorkerOrder>(3);
  misses_each_part<wire::WorkerOrder, coordinator::WorkerOrder>(4);
}

TEST(Wire, NodeMessages)
{
  round_trips<wire::NodeMessage, coordinator::NodeMessage>(5);
  misses_each_part<wire::NodeMessage, coordinator::NodeMessage>(6);
}

TEST(Wire, NodeOrders)
{
  round_trips<wire::NodeOrder, coordinator::NodeOrder>(7);
  misses_each_part<wire::NodeOrder, coordinator::NodeOrder>(8);
}

TEST(Wire, Reports)
{
  round_trips<wire::JobReport, coordinator::JobReport>(9);
  misses_each_part<wire::JobReport, coordinator::JobReport>(10);
  round_trips<wire::JobSummary, coordinator::JobSummary>(11);
}

TEST(Wire, UnknownValuesAreRefused)
{
  const auto refused = [](const auto& message, auto plain) {
    return std::string(wire::from_wire(message, &plain).message());
  };
  wire::WorkerMessage progress;
  progress.mutable_progress()->set_phase(static_cast<wire::ProgressReport::Phase>(9));
  EXPECT_THAT(refused(progress, coordinator::WorkerMessage()), testing::HasSubstr("value 9"));
  wire::ControlMessage release;
  release.mutable_release()->mutable_name();
  release.mutable_release()->set_reason(static_cast<wire::EndReason>(77));
  EXPECT_THAT(refused(release, ControlMessage()), testing::HasSubstr("value 77"));
  wire::NodeMessage fate;
  fate.mutable_fate()->mutable_exit();
  fate.mutable_fate()->set_kind(static_cast<wire::WorkerFate::Kind>(-1));
  EXPECT_THAT(refused(fate, coordinator::NodeMessage()), testing::HasSubstr("value -1"));
  wire::NodeOrder refusal;
  refusal.mutable_refusal()->mutable_status()->set_code(17);
  EXPECT_THAT(refused(refusal, coordinator::NodeOrder()), testing::HasSubstr("value 17"));
  refusal.mutable_refusal()->mutable_status()->set_code(0);  // a refusal that is none
  EXPECT_THAT(refused(refusal, coordinator::NodeOrder()), testing::HasSubstr("value 0"));
}

TEST(Wire, AnEmptyMessageIsRefused)
{
  coordinator::NodeMessage node;
  EXPECT_FALSE(wire::from_wire(wire::NodeMessage(), &node).ok());
  coordinator::WorkerOrder order;
  EXPECT_FALSE(wire::from_wire(wire::WorkerOrder(), &order).ok());
}

// A message whose own bytes are wrong is found by protobuf; text of any bytes passes.
TEST(Wire, LastWordsNeedNotBeUtf8)
{
  coordinator::WorkerFate fate;
  fate.exit.last_words = "\xff\xfe broken \xc3";
  wire::NodeMessage first, second;
  wire::to_wire(coordinator::NodeMessage(fate), &first);
  ASSERT_TRUE(second.ParseFromString(first.SerializeAsString()));
  coordinator::NodeMessage back;
  ASSERT_TRUE(wire::from_wire(second, &back).ok());
  EXPECT_EQ(std::get<coordinator::WorkerFate>(back).exit.last_words, fate.exit.last_words);
}

}  // namespace
}  // namespace spillway
