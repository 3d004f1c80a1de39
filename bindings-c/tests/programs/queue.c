/* A custom credential whose requests are polled: by one thread, by several, in a forked child, and their end. */
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void open_queue(pgentra_credential **credential, pgentra_provider **provider) {
  pgentra_error *error = NULL;
  OK(pgentra_credential_queue("Polled", credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, *credential, provider, &error));
}

/* Takes the request that a fetch has started, or will start. */
static pgentra_request *take(const pgentra_credential *credential) {
  pgentra_error *error = NULL;
  pgentra_request *request = NULL;
  const pgentra_token_request *wanted = NULL;
  OK(pgentra_request_next(credential, LIMIT_S * 1000, &request, &wanted, &error));
  CHECK(request != NULL && wanted->size == sizeof *wanted && strcmp(wanted->scope, SCOPE) == 0);
  CHECK(wanted->tenant_id == NULL && wanted->claims == NULL && !wanted->enable_cae);
  return request;
}

/* A program with one thread: the first call starts the fetch, the second one returns its result. */
static void one_thread(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  pgentra_provider *provider = NULL;
  pgentra_request *request = (pgentra_request *)&error;
  const char *user = NULL, *password = NULL;
  int64_t expires_on = 0;
  open_queue(&credential, &provider);
  /* Nothing is fetched yet. */
  OK(pgentra_request_next(credential, 0, &request, NULL, &error));
  CHECK(request == NULL);
  int32_t kind = PGENTRA_OK, limit_ms = 0, requests = 0;
  while ((kind = pgentra_provider_login(provider, limit_ms, &user, &password, NULL, &expires_on, NULL)) ==
         PGENTRA_TIMEOUT) {
    OK(pgentra_request_next(credential, 10, &request, NULL, &error));
    if (request != NULL) OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
    requests += request != NULL;
    limit_ms = 10;
  }
  CHECK(kind == PGENTRA_OK && requests == 1 && strcmp(password, TOKEN) == 0 && expires_on == 4000000000LL);
  pgentra_string_free(user);
  pgentra_string_free(password);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
}

/* A thread that responds until the credential is closed. */
static void *serve(void *credential) {
  pgentra_error *error = NULL;
  pgentra_request *request = NULL;
  int32_t kind = PGENTRA_OK;
  while ((kind = pgentra_request_next((const pgentra_credential *)credential, -1, &request, NULL, NULL)) ==
         PGENTRA_OK) {
    CHECK(request != NULL);
    OK(pgentra_request_respond(request, TOKEN, 0, 0, &error));
    FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(request, TOKEN, 0, 0, &error));
  }
  CHECK(kind == PGENTRA_CANCELLED || kind == PGENTRA_SHUTTING_DOWN);
  return NULL;
}

#define THREADS 4

static void several_threads(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  pgentra_provider *provider = NULL;
  pthread_t threads[THREADS];
  open_queue(&credential, &provider);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, serve, credential) == 0);
  /* Each scope is a fetch of its own. */
  for (int i = 0; i < 20; i++) {
    char scope[32];
    const char *token = NULL;
    snprintf(scope, sizeof scope, "api://number-%d", i);
    const pgentra_token_request request = request_for(scope);
    OK(pgentra_credential_get_token(credential, &request, -1, &token, NULL, &error));
    CHECK(strcmp(token, TOKEN) == 0);
    pgentra_string_free(token);
  }
  linger();
  pgentra_credential_close(credential);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  /* The provider keeps the credential, whose fetches fail now. */
  const char *token = NULL;
  FAILS(PGENTRA_CANCELLED, pgentra_provider_get(provider, -1, &token, NULL, &error));
  pgentra_provider_close(provider);
}

static void failures(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL, *with_callback = NULL;
  pgentra_provider *provider = NULL;
  pgentra_request *request = NULL;
  const char *token = NULL;
  int cause = 0;
  open_queue(&credential, &provider);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(provider, 0, &token, NULL, &error));
  request = take(credential);
  OK(pgentra_request_fail(request, "OutOfOrder", "AADSTS700016: no such application.", false, &cause, NULL, &error));
  CHECK(pgentra_provider_get(provider, -1, &token, NULL, &error) == PGENTRA_AUTHENTICATION_FAILED);
  CHECK(strstr(pgentra_error_message(error), "Polled") != NULL && pgentra_error_cause(error) == &cause);
  pgentra_error_free(error);
  error = NULL;
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);

  /* A request that the program has taken belongs to it, also after the end of the fetch. */
  open_queue(&credential, &provider);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(provider, 0, &token, NULL, &error));
  request = take(credential);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
  pgentra_request_abandon(request, NULL);
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(request, TOKEN, 0, 0, &error));

  /* Bad arguments. */
  OK(pgentra_credential_open(STATIC_CONFIG, NULL, 0, &with_callback, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_next(with_callback, 0, &request, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_next(credential, 0, &request, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_next(NULL, 0, &request, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_next(with_callback, 0, NULL, NULL, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_queue(NULL, &credential, &error));
  FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_credential_queue("Polled", NULL, &error));
  pgentra_credential_close(with_callback);
}

/* A request of the parent is not the child's; a fetch of the child is. */
static void forked_child(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  pgentra_provider *provider = NULL;
  pgentra_request *request = NULL;
  const char *token = NULL;
  open_queue(&credential, &provider);
  FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(provider, 0, &token, NULL, &error));
  pgentra_request *const of_the_parent = take(credential);
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(LIMIT_S);
    OK(pgentra_request_next(credential, 0, &request, NULL, &error));
    CHECK(request == NULL);
    FAILS(PGENTRA_INVALID_ARGUMENT, pgentra_request_respond(of_the_parent, TOKEN, 0, 0, &error));
    FAILS(PGENTRA_TIMEOUT, pgentra_provider_get(provider, 0, &token, NULL, &error));
    OK(pgentra_request_respond(take(credential), TOKEN, 0, 0, &error));
    OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
    pgentra_shutdown();
    execlp("true", "true", (char *)NULL);
    _exit(1);
  }
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  OK(pgentra_request_respond(of_the_parent, TOKEN, 0, 0, &error));
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  pgentra_string_free(token);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
}

/* At the end of the process no thread waits for requests any more. */
static void shutdown_ends_the_waits(void) {
  pgentra_error *error = NULL;
  pgentra_credential *credential = NULL;
  pgentra_provider *provider = NULL;
  pgentra_request *request = NULL;
  pthread_t thread;
  open_queue(&credential, &provider);
  CHECK(pthread_create(&thread, NULL, serve, credential) == 0);
  linger();
  pgentra_shutdown();
  CHECK(pthread_join(thread, NULL) == 0);
  FAILS(PGENTRA_SHUTTING_DOWN, pgentra_request_next(credential, 0, &request, NULL, &error));
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
}

int main(void) {
  one_thread();
  several_threads();
  failures();
  forked_child();
  shutdown_ends_the_waits();
  return finish();
}
