// A matcher for what a user is told.
#pragma once

#include <gmock/gmock.h>

#include "data/user_error.h"

namespace trireme {

// EXPECT_THAT([&] { load("x"); }, ThrowsUserError(HasSubstr("x: ")));
template <typename Matcher>
auto ThrowsUserError(Matcher message) {
  return testing::ThrowsMessage<UserError>(message);
}

}  // namespace trireme
