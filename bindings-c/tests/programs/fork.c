/* A forked child: it uses its parent's handles and tokens, fetches by itself, and never hangs. */
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static counter requests, gate;
static pgentra_request *request_of_the_parent;

static void respond_late(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)user_data, (void)wanted;
  if (request_of_the_parent == NULL) request_of_the_parent = request;
  counter_add(&requests);
  counter_wait(&gate, 1);
  pgentra_request_respond(request, TOKEN, 0, 0, NULL);
}

/* Called once in the parent, at its end, and not in a child. */
static void called_back(void *user_data, const pgentra_outcome *outcome) {
  CHECK(outcome->code == PGENTRA_OK);
  counter_add((counter *)user_data);
}

static pgentra_provider *warm, *slow;
static pgentra_operation *operation;
static counter called;

static void child(void) {
  pgentra_error *error = NULL;
  const char *token = NULL;
  pgentra_provider *own = NULL;
  alarm(LIMIT_S);
  OK(pgentra_provider_get(warm, 0, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  /* The parent's fetch does not concern the child, which starts its own. */
  counter_init(&requests), counter_init(&gate);
  counter_add(&gate);
  OK(pgentra_provider_get(slow, -1, &token, NULL, &error));
  CHECK(counter_get(&requests) == 1);
  pgentra_string_free(token);
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"environment\"}, \"environment\": {}}", &own, &error));
  FAILS(PGENTRA_CREDENTIAL_UNAVAILABLE, pgentra_provider_get(own, -1, &token, NULL, &error));
  OK(pgentra_operation_cancel(operation, &error));
  pgentra_operation_free(operation);
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(request_of_the_parent, TOKEN, 0, 0, &error));
  pgentra_provider_close(own);
  pgentra_provider_close(slow);
  pgentra_provider_close(warm);
  /* This waits for callbacks. */
  pgentra_shutdown();
  CHECK(counter_get(&called) == 0);
}

static void *churn(void *stop) {
  while (counter_get((counter *)stop) == 0) {
    pgentra_error *error = NULL;
    pgentra_provider *provider = NULL;
    const char *token = NULL;
    OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
    OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
    pgentra_string_free(token);
    pgentra_provider_close(provider);
    /* Valgrind runs one thread at a time and would only run this one. */
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  return NULL;
}

static void fork_once(void) {
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    child();
    /* Another program, because the memory of the parent's threads is leaked on purpose. */
    execlp("true", "true", (char *)NULL);
    _exit(1);
  }
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  const char *token = NULL;
  counter stop;
  pthread_t thread;
  counter_init(&requests), counter_init(&gate), counter_init(&called), counter_init(&stop);
  OK(pgentra_provider_open(STATIC_CONFIG, &warm, &error));
  OK(pgentra_provider_get(warm, -1, &token, NULL, &error));
  pgentra_string_free(token);
  OK(pgentra_credential_callback("Slow", respond_late, NULL, NULL, &credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, credential, &slow, &error));
  pgentra_credential_close(credential);
  OK(pgentra_provider_get_async(slow, -1, called_back, &called, &operation, &error));
  counter_wait(&requests, 1);
  fork_once();
  /* At any moment: another thread opens and closes meanwhile. The sanitizer's allocator does not support this. */
  (void)churn;
#ifndef __SANITIZE_ADDRESS__
  CHECK(pthread_create(&thread, NULL, churn, &stop) == 0);
  for (int round = 0; round < 5; round++) fork_once();
  counter_add(&stop);
  CHECK(pthread_join(thread, NULL) == 0);
#else
  (void)thread;
#endif
  CHECK(counter_get(&called) == 0);
  counter_add(&gate);
  counter_wait(&called, 1);
  pgentra_operation_free(operation);
  pgentra_provider_close(slow);
  pgentra_provider_close(warm);
  return finish();
}
