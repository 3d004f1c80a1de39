/* An asynchronous login: the callback wakes an event loop with poll() through a pipe. */
#include <errno.h>
#include <pgentra.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "sample.h"

typedef struct login {
  int wake;
  const char *user;
  const char *password;
  pgentra_error *error;
} login;

/* Runs on a thread of the library: keeps the strings and wakes the event loop. */
static void done(void *user_data, const pgentra_outcome *outcome) {
  login *result = user_data;
  result->user = pgentra_string_retain(outcome->user);
  result->password = pgentra_string_retain(outcome->token);
  result->error = pgentra_error_retain(outcome->error);
  if (write(result->wake, "!", 1) != 1) perror("write");
}

/* Waits for the callback, at most so many milliseconds (negative: without a limit). */
static int woken(int end, int milliseconds) {
  struct pollfd pipe_end = {end, POLLIN, 0};
  int ready;
  do {
    ready = poll(&pipe_end, 1, milliseconds);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

int main(void) {
  struct timespec started;
  pgentra_provider *provider = NULL;
  pgentra_operation *operation = NULL;
  pgentra_error *error = NULL;
  login result = {0, NULL, NULL, NULL};
  int ends[2], failed = 1;
  clock_gettime(CLOCK_MONOTONIC, &started);
  if (pipe(ends) != 0) return 1;
  result.wake = ends[1];

  if (pgentra_provider_open(NULL, &provider, &error) == PGENTRA_OK &&
      pgentra_provider_login_async(provider, -1, done, &result, &operation, &error) == PGENTRA_OK) {
    /* The callback is called exactly once, so `result` must be valid until then. */
    if (!woken(ends[0], 10000)) {
      pgentra_operation_cancel(operation, NULL);
      woken(ends[0], -1);
    }
    if (result.error == NULL) failed = log_in("async", result.user, result.password, &started);
    error = result.error;
  }
  if (error != NULL) fprintf(stderr, "%s\n", pgentra_error_message(error));

  pgentra_error_free(error);
  pgentra_string_free(result.password);
  pgentra_string_free(result.user);
  pgentra_operation_free(operation);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return failed;
}
