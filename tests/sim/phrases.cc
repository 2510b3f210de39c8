// SPDX-License-Identifier: Apache-2.0
// What the words of scripts do.
#include "director.h"

namespace spillway::sim {
namespace {

using W = const Words&;
using D = Director&;
using Crash = CoordinatorHost::Crash;

void add_settings(std::vector<Phrase>& out)
{
  const auto set = [&](const char* words, void (*what)(D, W)) {
    out.push_back({.words = words, .set = what});
  };
  set("members <low:count> to <high:count>", [](D d, W w) {
    d.setup().membership.min_members = w.count("low");
    d.setup().membership.max_members = w.count("high");
  });
  set("silence <span:span>", [](D d, W w) {
    d.setup().membership.silence_timeout = w.span("span", {});
    d.setup().membership.reconnect_grace = 5 * d.setup().membership.silence_timeout;
  });
  set("lease <span:span>", [](D d, W w) {
    d.setup().membership.lease = w.span("span", {});
    d.setup().member_lease = d.setup().membership.lease * 3 / 4;
    d.setup().heartbeat = d.setup().member_lease / 5;
  });
  set("buckets <count:count>",
      [](D d, W w) { d.setup().buckets = static_cast<int>(w.count("count")); });
  set("ranges <count:count>", [](D d, W w) { d.setup().ranges = w.count("count"); });
}

void add_faults(std::vector<Phrase>& out)
{
  const auto act = [&](const char* words, void (*what)(D, W)) {
    out.push_back({.words = words, .act = what});
  };
  act("kill <who:worker>", [](D d, W w) {
    d.world().count_fault("kill", true);
    d.process(w).kill(true);
  });
  act("kill <who:worker> with its agent", [](D d, W w) {
    d.world().count_fault("kill.with_agent", true);
    d.process(w).kill(false);
  });
  act("abandon <who:worker>", [](D d, W w) {
    d.world().count_fault("abandon", true);
    d.world().coordinator().request(WorkerExited{d.process(w).worker(), "an operator abandons it"});
  });
  act("pause <who:worker>", [](D d, W w) {
    d.world().count_fault("pause", true);
    d.process(w).pause();
    d.world().coordinator().report_silent(d.process(w).index());
  });
  act("continue <who:worker>", [](D d, W w) { d.process(w).resume(); });
  act("hang the loop of <who:worker>", [](D d, W w) {
    d.world().count_fault("hang", true);
    d.process(w).hang();
  });
  act("let the loop of <who:worker> come back", [](D d, W w) { d.process(w).unhang(); });
  act("fail the next apply of <who:worker>", [](D d, W w) {
    d.world().count_fault("apply", true);
    d.process(w).fail_next_apply();
  });
  act("cut <from:party> from <to:party>", [](D d, W w) {
    d.world().count_fault("cut", true);
    d.unreachable(d.index(w.text("from")), d.index(w.text("to")));
  });
  act("cut <from:party> from all", [](D d, W w) {
    d.world().count_fault("cut.from_all", true);
    for (int other = kCoordinator; other < d.world().process_count(); ++other)
      d.unreachable(d.index(w.text("from")), other);
  });
  act("heal <from:party> from <to:party>", [](D d, W w) {
    const int from = d.index(w.text("from")), to = d.index(w.text("to"));
    d.world().network().heal(from, to);
    d.world().network().heal(to, from);
  });
  act("lose the record of the store", [](D d, W) {
    d.world().count_fault("store.lost", true);
    d.world().coordinator().loses_store();
  });
  act("heal all", [](D d, W) { d.world().network().heal_all(); });
  act("break the connection of <who:worker>",
      [](D d, W w) { d.world().control().break_connection(d.process(w).index()); });
  act("crash the coordinator", [](D d, W) { d.world().coordinator().crash(Crash::kNow); });
  act("crash the coordinator before its next write",
      [](D d, W) { d.world().coordinator().crash(Crash::kBeforeWrite); });
  act("crash the coordinator after its next write",
      [](D d, W) { d.world().coordinator().crash(Crash::kAfterWrite); });
  act("let the store fail for <span:span>",
      [](D d, W w) { d.world().coordinator().store_fails_for(w.span("span", {})); });
  act("depose the coordinator, which lives on for <span:span>",
      [](D d, W w) { d.world().coordinator().depose(w.span("span", {})); });
}

void add_wishes_and_holds(std::vector<Phrase>& out)
{
  const auto act = [&](const char* words, void (*what)(D, W)) {
    out.push_back({.words = words, .act = what});
  };
  act("start <who:new>", [](D d, W w) { d.start(w.text("who")); });
  act("ask <who:worker> to leave", [](D d, W w) { d.process(w).ask_to_leave(false); });
  act("ask <who:worker> to leave at once", [](D d, W w) { d.process(w).ask_to_leave(true); });
  act("request a plan", [](D d, W) {
    d.world().coordinator().request(PlanRequested{"a plan", false});
  });
  act("request an urgent plan", [](D d, W) {
    d.world().coordinator().request(PlanRequested{"an urgent plan", true});
  });
  act("refuse connections between <from:worker> and <to:worker>",
      [](D d, W w) { d.world().network().refuse(d.index(w.text("from")), d.index(w.text("to"))); });
  act("accept connections between <from:worker> and <to:worker>", [](D d, W w) {
    d.world().network().refuse_no_more(d.index(w.text("from")), d.index(w.text("to")));
  });
  act("wait <span:span>", [](D d, W w) { d.wait(w.span("span", {})); });
  const auto hold = [](D d, W w) { d.world().holds().add(d.pattern(w)); };
  const auto let_go = [](D d, W w) {
    d.world().holds().remove(d.pattern(w));
    d.world().release_held();
  };
  const auto lose = [](D d, W w) {
    const Happening pattern = d.pattern(w);
    d.world().network().lose(pattern);
    d.world().control().lose(pattern);
    d.world().holds().remove(pattern);
    d.world().release_held();
  };
  const char* kMessages =
      " <what:messages> [of step <step:count>] [of number <number:count>] [from <from:party>] [to "
      "<to:party>]";
  out.push_back({.words = std::string("hold") + kMessages, .act = hold});
  out.push_back({.words = std::string("let go") + kMessages, .act = let_go});
  out.push_back({.words = std::string("lose") + kMessages, .act = lose});
  out.push_back({.words = "hold <what:work> of <from:worker>", .act = hold});
  out.push_back({.words = "let go <what:work> of <from:worker>", .act = let_go});
}

void add_member_conditions(std::vector<Phrase>& out)
{
  const auto until = [&](const std::string& words, bool (*what)(D, W)) {
    out.push_back({.words = "until " + words + " [within <limit:span>]", .until = what});
  };
  until("<who:worker> has applied step <n:count>", [](D d, W w) {
    const auto state = d.process(w).state();
    return state && state->step.value() >= w.count("n");
  });
  until("<who:worker> has voted for step <n:count>", [](D d, W w) {
    const MemberCore* core = d.core(w);
    return core != nullptr && core->status().voted &&
           core->status().voted->step.value() >= w.count("n");
  });
  until("<who:worker> steps in <n:count>", [](D d, W w) {
    const MemberCore* core = d.core(w);
    return core != nullptr && core->current() == Number(w.count("n")) && !core->stopped();
  });
  until("<who:worker> has installed <n:count>", [](D d, W w) {
    const MemberCore* core = d.core(w);
    return core != nullptr && core->status().installed == Number(w.count("n"));
  });
  until("<who:worker> has left for <n:count>", [](D d, W w) {
    const MemberCore* core = d.core(w);
    return core != nullptr && core->status().left == Number(w.count("n"));
  });
  until("<who:worker> has promised <n:count>", [](D d, W w) {
    const MemberCore* core = d.core(w);
    return core != nullptr && core->status().promised >= Number(w.count("n"));
  });
  until("<who:worker> has prepared <n:count>",
        [](D d, W w) { return d.process(w).has_prepared(Number(w.count("n"))); });
  until("<who:worker> has no state", [](D d, W w) { return !d.process(w).state(); });
  until("<who:worker> is gone", [](D d, W w) { return !d.process(w).alive(); });
}

void add_coordinator_conditions(std::vector<Phrase>& out)
{
  const auto until = [&](const std::string& words, bool (*what)(D, W)) {
    out.push_back({.words = "until " + words + " [within <limit:span>]", .until = what});
  };
  until("the coordinator knows of <n:count>", [](D d, W w) {
    MembershipCore* core = d.world().coordinator().leader();
    return core != nullptr && core->record().newest == Number(w.count("n"));
  });
  until("the coordinator publishes <n:count>", [](D d, W w) {
    MembershipCore* core = d.world().coordinator().leader();
    return core != nullptr && core->record().pending == Number(w.count("n"));
  });
  until("the coordinator aborts for <n:count>", [](D d, W w) {
    MembershipCore* core = d.world().coordinator().leader();
    return core != nullptr && core->explain(d.world().now()).open_abort == Number(w.count("n"));
  });
  until("the coordinator judges <who:worker> silent", [](D d, W w) {
    const auto known = d.known(w);
    return known && known->silent;
  });
  until("the coordinator knows <who:worker> dead", [](D d, W w) {
    const auto known = d.known(w);
    return known && known->dead;
  });
  until("the coordinator has heard <who:worker>", [](D d, W w) {
    const auto known = d.known(w);
    return known && known->connected && known->status.lineage;
  });
  until("the coordinator knows a bad pair", [](D d, W) {
    MembershipCore* core = d.world().coordinator().leader();
    return core != nullptr && !core->explain(d.world().now()).unreachable_pairs.empty();
  });
  until("the coordinator knows no bad pair", [](D d, W) {
    MembershipCore* core = d.world().coordinator().leader();
    return core != nullptr && core->explain(d.world().now()).unreachable_pairs.empty();
  });
  until(
      "<what:messages> [of step <step:count>] [of number <number:count>] [from <from:party>] [to "
      "<to:party>] are held",
      [](D d, W w) { return d.any_held(d.pattern(w)); });
  until("<what:work> of <from:worker> is held", [](D d, W w) { return d.any_held(d.pattern(w)); });
}

}  // namespace

const std::vector<Phrase>& phrases()
{
  static const std::vector<Phrase> all = [] {
    std::vector<Phrase> out;
    add_settings(out);
    add_faults(out);
    add_wishes_and_holds(out);
    add_member_conditions(out);
    add_coordinator_conditions(out);
    return out;
  }();
  return all;
}

}  // namespace spillway::sim
