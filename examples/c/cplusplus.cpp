// libpq with a token in C++, with pgentra.hpp.
#include <pgentra.hpp>

#include "sample.h"

int main() {
  timespec started;
  clock_gettime(CLOCK_MONOTONIC, &started);
  try {
    const pgentra::Provider provider;
    const auto login = provider.login();
    return log_in("cplusplus", login.first.get(), login.second.get(), &started);
  } catch (const pgentra::Error &error) {
    fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
