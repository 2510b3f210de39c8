// SPDX-License-Identifier: Apache-2.0
#include "group_suite.h"

namespace spillway::comm {

INSTANTIATE_TEST_SUITE_P(Loopback, GroupSuite,
                         testing::Values(SuiteBackend{"loopback", make_loopback_transport}));

}  // namespace spillway::comm
