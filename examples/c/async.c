/* The asynchronous door: a callback, here one that wakes the event loop of poll() by a pipe. */
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

/* On a thread of the library's: keep what is needed, wake the loop, go. */
static void done(void *user_data, const pgentra_outcome *outcome) {
  login *mine = user_data;
  mine->user = pgentra_string_retain(outcome->user);
  mine->password = pgentra_string_retain(outcome->token);
  mine->error = pgentra_error_retain(outcome->error);
  if (write(mine->wake, "!", 1) != 1) perror("write");
}

/* Whether the callback has been called within so many milliseconds (negative: however long it takes). */
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
  login mine = {0, NULL, NULL, NULL};
  int ends[2], failed = 1;
  clock_gettime(CLOCK_MONOTONIC, &started);
  if (pipe(ends) != 0) return 1;
  mine.wake = ends[1];

  if (pgentra_provider_open(NULL, &provider, &error) == PGENTRA_OK &&
      pgentra_provider_login_async(provider, -1, done, &mine, &operation, &error) == PGENTRA_OK) {
    /* The callback comes once in any case, so `mine` must stay until then. */
    if (!woken(ends[0], 10000)) {
      pgentra_operation_cancel(operation, NULL);
      woken(ends[0], -1);
    }
    if (mine.error == NULL) failed = log_in("async", mine.user, mine.password, &started);
    error = mine.error;
  }
  if (error != NULL) fprintf(stderr, "%s\n", pgentra_error_message(error));

  pgentra_error_free(error);
  pgentra_string_free(mine.password);
  pgentra_string_free(mine.user);
  pgentra_operation_free(operation);
  pgentra_provider_close(provider);
  pgentra_shutdown();
  return failed;
}
