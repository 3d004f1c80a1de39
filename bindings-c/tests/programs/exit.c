/* A program that ends while the library works. Its argument is the situation; without one it returns from main.
 * test_exit.py runs each situation many times. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static pgentra_provider *provider;
static pgentra_credential *credential;
static counter requests, called;

static void for_ever(void) {
  for (;;) pause();
}

/* Does not respond before the program ends. */
static void request_token(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)user_data, (void)request, (void)wanted;
  counter_add(&requests);
  for_ever();
}

static void request_and_exit(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)user_data, (void)request, (void)wanted;
  exit(0);
}

static void respond(void *user_data, pgentra_request *request, const pgentra_token_request *wanted) {
  (void)user_data, (void)wanted;
  pgentra_request_respond(request, TOKEN, 0, 0, NULL);
}

static void done(void *user_data, const pgentra_outcome *outcome) { (void)user_data, (void)outcome; }

static void done_for_ever(void *user_data, const pgentra_outcome *outcome) {
  (void)user_data, (void)outcome;
  counter_add(&called);
  for_ever();
}

static void done_and_exit(void *user_data, const pgentra_outcome *outcome) {
  (void)user_data, (void)outcome;
  exit(0);
}

static void log_for_ever(void *user_data, int32_t level, const char *target, const char *message) {
  (void)user_data, (void)level, (void)target, (void)message;
  counter_add(&called);
  for_ever();
}

static void log_and_exit(void *user_data, int32_t level, const char *target, const char *message) {
  (void)user_data, (void)level, (void)target, (void)message;
  exit(0);
}

static void finalize_for_ever(void *user_data) {
  (void)user_data;
  counter_add(&called);
  for_ever();
}

/* Uses the library at the end of the program. */
static void at_exit(void) {
  pgentra_error *error = NULL;
  const char *json = NULL;
  OK(pgentra_stats(&json, &error));
  pgentra_string_free(json);
  pgentra_provider_close(provider);
}

static void shut_down_at_exit(void) {
  pgentra_error *error = NULL;
  pgentra_provider *own = NULL;
  const char *token = NULL;
  pgentra_shutdown();
  OK(pgentra_provider_open("{\"credential\": {\"type\": \"managed_identity\"}, \"environment\": {}}", &own, &error));
  FAILS(PGENTRA_SHUTTING_DOWN, pgentra_provider_get(own, -1, &token, NULL, &error));
  pgentra_provider_close(own);
}

static void open_with(pgentra_token_callback callback, pgentra_finalizer finalizer) {
  pgentra_error *error = NULL;
  OK(pgentra_credential_callback("Slow", callback, &requests, finalizer, &credential, &error));
  OK(pgentra_provider_open_with(EMPTY_CONFIG, credential, &provider, &error));
}

static void begin(pgentra_done_callback callback) {
  pgentra_error *error = NULL;
  OK(pgentra_provider_get_async(provider, -1, callback, NULL, NULL, &error));
}

/* A managed identity whose endpoint accepts connections and does not respond. */
static void open_silent(void) {
  pgentra_error *error = NULL;
  char config[256];
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
  snprintf(config, sizeof config,
           "{\"credential\": {\"type\": \"managed_identity\"}, \"environment\": {\"IDENTITY_ENDPOINT\": "
           "\"http://127.0.0.1:%d/token\", \"IDENTITY_HEADER\": \"h\"}}",
           ntohs(address.sin_port));
  OK(pgentra_provider_open(config, &provider, &error));
}

static void *get(void *unused) {
  const char *token = NULL;
  (void)unused;
  counter_add(&called);
  pgentra_provider_get(provider, -1, &token, NULL, NULL);
  return NULL;
}

static void *exit_soon(void *unused) {
  (void)unused;
  counter_wait(&called, 1);
  linger();
  exit(0);
}

static void detached(void *(*work)(void *)) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
  CHECK(pthread_detach(thread) == 0);
}

static void return_(void) {
  CHECK(atexit(at_exit) == 0);
  open_with(request_token, NULL);
  begin(done);
  counter_wait(&requests, 1);
}

static void exit_with_blocked_threads(void) {
  open_with(request_token, NULL);
  for (int number = 0; number < 4; number++) detached(get);
  counter_wait(&requests, 1);
  counter_wait(&called, 4);
  exit(0);
}

static void fetch(void) {
  open_silent();
  CHECK(atexit(at_exit) == 0);
  detached(get);
  counter_wait(&called, 1);
  linger();
}

static void immediately(void) {
  open_silent();
  begin(done);
  _exit(0);
}

static void shutdown_registered_before(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_silent();
  detached(get);
  counter_wait(&called, 1);
}

static void shutdown_registered_after(void) {
  open_with(request_token, NULL);
  begin(done_for_ever);
  counter_wait(&requests, 1);
  CHECK(atexit(shut_down_at_exit) == 0);
}

static void exit_on_another_thread(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_silent();
  detached(exit_soon);
  get(NULL);
  for_ever();
}

static void exit_in_done(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_with(respond, NULL);
  begin(done_and_exit);
  for_ever();
}

static void exit_in_request(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_with(request_and_exit, NULL);
  get(NULL);
  for_ever();
}

static void exit_in_log(void) {
  pgentra_error *error = NULL;
  CHECK(atexit(shut_down_at_exit) == 0);
  OK(pgentra_set_log_callback(PGENTRA_LOG_DEBUG, log_and_exit, NULL, NULL, &error));
  open_with(respond, NULL);
  get(NULL);
  for_ever();
}

static void blocked_log(void) {
  pgentra_error *error = NULL;
  CHECK(atexit(shut_down_at_exit) == 0);
  OK(pgentra_set_log_callback(PGENTRA_LOG_DEBUG, log_for_ever, NULL, NULL, &error));
  open_with(respond, NULL);
  get(NULL);
  counter_wait(&called, 2);
}

/* As many as run at once, and more that wait. */
static void blocked_callbacks(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_with(respond, NULL);
  for (int number = 0; number < 24; number++) begin(done_for_ever);
  counter_wait(&called, 16);
}

static void blocked_finalizer(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_with(respond, finalize_for_ever);
  pgentra_provider_close(provider);
  pgentra_credential_close(credential);
  counter_wait(&called, 1);
}

/* The process ends with its last thread, so the library's threads must end. */
static void end_of_the_main_thread(void) {
  pgentra_error *error = NULL;
  OK(pgentra_set_log_callback(PGENTRA_LOG_DEBUG, NULL, NULL, NULL, &error));
  open_with(respond, NULL);
  get(NULL);
  begin(done);
  pgentra_shutdown();
  pthread_exit(NULL);
}

static void forked_child(void) {
  CHECK(atexit(shut_down_at_exit) == 0);
  open_silent();
  detached(get);
  counter_wait(&called, 1);
  const pid_t child = fork();
  if (child == 0) return;
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static const struct situation {
  const char *name;
  void (*run)(void);
} situations[] = {
    {"return", return_},
    {"exit_with_blocked_threads", exit_with_blocked_threads},
    {"fetch", fetch},
    {"immediately", immediately},
    {"shutdown_registered_before", shutdown_registered_before},
    {"shutdown_registered_after", shutdown_registered_after},
    {"exit_on_another_thread", exit_on_another_thread},
    {"exit_in_done", exit_in_done},
    {"exit_in_request", exit_in_request},
    {"exit_in_log", exit_in_log},
    {"blocked_log", blocked_log},
    {"blocked_callbacks", blocked_callbacks},
    {"blocked_finalizer", blocked_finalizer},
    {"end_of_the_main_thread", end_of_the_main_thread},
    {"forked_child", forked_child},
};

int main(int count, char **arguments) {
  const char *name = count > 1 ? arguments[1] : "return";
  counter_init(&requests), counter_init(&called);
  alarm(LIMIT_S);
  for (size_t number = 0; number < sizeof situations / sizeof *situations; number++) {
    if (strcmp(situations[number].name, name) != 0) continue;
    situations[number].run();
    return 0;
  }
  fprintf(stderr, "no situation %s\n", name);
  return 2;
}
