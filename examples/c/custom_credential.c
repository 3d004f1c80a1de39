/* A custom credential: a callback that responds to requests for tokens. This one runs the command in the variable
 * TOKEN_COMMAND and uses its standard output. */
#define _POSIX_C_SOURCE 200809L /* popen, under -std=c99 */
#include <pgentra.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

/* Runs on a thread of the library, which it may block. The response can also come later, from any other thread. */
static void request_token(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  static char token[65536];
  FILE *output = popen(user_data, "r");
  size_t length = output == NULL ? 0 : fread(token, 1, sizeof token - 1, output);
  if (output == NULL || pclose(output) != 0) {
    pgentra_request_fail(request, "CommandFailed", wanted->scope, false, NULL, NULL, NULL);
    return;
  }
  while (length > 0 && token[length - 1] <= ' ') length--;
  token[length] = '\0';
  /* 0: the token contains its expiry. */
  pgentra_request_respond(request, token, 0, 0, NULL);
  memset(token, 0, sizeof token);
}

int main(void) {
  struct timespec started;
  pgentra_credential *credential = NULL;
  pgentra_provider *provider = NULL;
  pgentra_error *error = NULL;
  const char *user = NULL, *password = NULL;
  char *command = getenv("TOKEN_COMMAND");
  int failed = 1;
  clock_gettime(CLOCK_MONOTONIC, &started);

  if (command == NULL) {
    fprintf(stderr, "custom: TOKEN_COMMAND is not set\n");
    return 1;
  }
  if (pgentra_credential_callback("CommandCredential", request_token, command, NULL, &credential, &error) ==
          PGENTRA_OK &&
      pgentra_provider_open_with("{}", credential, &provider, &error) == PGENTRA_OK &&
      pgentra_provider_login(provider, -1, &user, &password, NULL, NULL, &error) == PGENTRA_OK) {
    failed = log_in("custom", user, password, &started);
  } else {
    fprintf(stderr, "%s\n", pgentra_error_message(error));
  }

  pgentra_error_free(error);
  pgentra_string_free(password);
  pgentra_string_free(user);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
  pgentra_shutdown();
  return failed;
}
