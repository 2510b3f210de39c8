// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "number_links.h"

namespace spillway::engine {

// The groups of all numbers that this member is in, was in or prepares. Nothing here blocks but
// reap(), which the service thread calls: taking a group apart may take a while. Any thread.
class Links
{
 public:
  explicit Links(LinkContext context) : context_(std::move(context)) {}
  ~Links();

  void set_lineage(Lineage lineage);
  std::shared_ptr<NumberLinks> get(Number number) const;

  void prepare(Number number, MemberListPtr members, bool listens);
  // A formed epoch: every lower number goes, this one is connected.
  void enter(Number number, MemberListPtr members);
  // The number is left by a switch: progressed until close() or a formed epoch.
  void leave(Number number);
  void stop(Number number);
  void stop_all();
  void drop(Number number);
  // Goes when each of `keep` has closed it.
  void close(Number number, std::vector<WorkerId> keep);
  void retire_below(Number number);
  // This worker steps in no number: whatever is prepared may be joined.
  void listen_to_all();
  void peer_gone(Number number, WorkerId peer);

  // Moves the transport of numbers that were left; whether there are any.
  bool progress_left();
  void reap();

 private:
  struct Entry
  {
    std::shared_ptr<NumberLinks> links;
    bool left = false;
    bool closing = false;
    std::set<WorkerId> keep;
    std::set<WorkerId> gone;
  };
  void retire(std::map<Number, Entry>::iterator at);
  void retire_if_closed(std::map<Number, Entry>::iterator at);

  LinkContext context_;
  mutable std::mutex mutex_;
  Lineage lineage_;
  std::map<Number, Entry> numbers_;
  std::vector<std::shared_ptr<NumberLinks>> retired_;
};

}  // namespace spillway::engine
