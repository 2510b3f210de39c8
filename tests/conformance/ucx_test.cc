// SPDX-License-Identifier: Apache-2.0
#include "group_suite.h"

namespace spillway::comm {

INSTANTIATE_TEST_SUITE_P(Ucx, GroupSuite, testing::Values(SuiteBackend{"ucx", make_ucx_transport}));

}  // namespace spillway::comm
