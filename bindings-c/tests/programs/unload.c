/* dlopen and dlclose during a fetch: the library stays loaded. Its path is the argument. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

typedef int32_t (*open_function)(const char *, pgentra_provider **, pgentra_error **);
typedef int32_t (*get_async_function)(const pgentra_provider *, int32_t, pgentra_done_callback, void *,
                                      pgentra_operation **, pgentra_error **);
typedef void (*close_function)(pgentra_provider *);
typedef void (*shutdown_function)(void);

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  CHECK(found != NULL);
  return found;
}

static int32_t last_code = -1;

static void done(void *user_data, const pgentra_outcome *outcome) {
  last_code = outcome->code;
  counter_add((counter *)user_data);
}

/* A server that accepts connections and does not respond. */
static int silent_server(int *port) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 16) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
  *port = ntohs(address.sin_port);
  return listener;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  int port = 0;
  const int listener = silent_server(&port);
  char config[512];
  snprintf(
      config, sizeof config,
      "{\"credential\": {\"type\": \"client_secret\", \"tenant_id\": \"t\", \"client_id\": \"c\", \"client_secret\": "
      "\"s\", \"authority_host\": \"https://localhost:%d\"}, \"environment\": {}}",
      port);
  counter calls;
  counter_init(&calls);
  /* Also without a thread of the library. */
  void *unused = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  CHECK(unused != NULL && dlclose(unused) == 0);
  unused = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  CHECK(unused != NULL && dlclose(unused) == 0);
  for (int round = 1; round <= 3; round++) {
    pgentra_provider *provider = NULL;
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    /* memcpy, because ISO C does not convert an object pointer to a function pointer. */
    open_function open_provider;
    get_async_function get_async;
    close_function close_provider;
    void *found = symbol(library, "pgentra_provider_open");
    memcpy(&open_provider, &found, sizeof found);
    found = symbol(library, "pgentra_provider_get_async");
    memcpy(&get_async, &found, sizeof found);
    found = symbol(library, "pgentra_provider_close");
    memcpy(&close_provider, &found, sizeof found);
    CHECK(open_provider(config, &provider, NULL) == PGENTRA_OK);
    CHECK(get_async(provider, -1, done, &calls, NULL, NULL) == PGENTRA_OK);
    const int connection = round == 1 ? accept(listener, NULL, NULL) : -1;
    CHECK(dlclose(library) == 0);
    linger();
    CHECK(counter_get(&calls) == round - 1);
    /* The library is still loaded. */
    close_provider(provider);
    counter_wait(&calls, round);
    CHECK(last_code == PGENTRA_CANCELLED);
    if (connection >= 0) close(connection);
    if (round == 3) {
      shutdown_function end;
      library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
      found = symbol(library, "pgentra_shutdown");
      memcpy(&end, &found, sizeof found);
      end();
      dlclose(library);
    }
  }
  close(listener);
  return 0;
}
