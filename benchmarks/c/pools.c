/* The connections of benchmarks/soak.py in C: libpq in four threads, a line for each login. */
#include <pgentra_libpq.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, KEPT_MS = 1000, FAILED_MS = 200 };

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_ms(long ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/* Prints a line; line ends and tabulators of the text become spaces. */
static void print_login(double began, double took, const char *role, const char *text) {
  char line[2000];
  snprintf(line, sizeof line, "%s", text == NULL ? "" : text);
  for (char *place = line; *place != '\0'; place++) {
    if (*place == '\n' || *place == '\t') *place = ' ';
  }
  printf("libpq\t%.3f\t%.3f\t%s\t%s\n", began, took, role, line);
  fflush(stdout);
}

static void log_in(void) {
  const double began = seconds(CLOCK_REALTIME), started = seconds(CLOCK_MONOTONIC);
  pgentra_error *error = NULL;
  PGconn *connection = NULL;
  PGresult *result = NULL;
  long kept = FAILED_MS;
  if (pgentra_libpq_connect("sslmode=verify-full", NULL, NULL, NULL, &connection, NULL, &error) != PGENTRA_OK) {
    print_login(began, seconds(CLOCK_MONOTONIC) - started, "", pgentra_error_message(error));
  } else if (PQstatus(connection) != CONNECTION_OK) {
    print_login(began, seconds(CLOCK_MONOTONIC) - started, "", PQerrorMessage(connection));
  } else {
    result = PQexec(connection, "select current_user");
    const int good = PQresultStatus(result) == PGRES_TUPLES_OK;
    print_login(began, seconds(CLOCK_MONOTONIC) - started, good ? PQgetvalue(result, 0, 0) : "",
                good ? "" : PQerrorMessage(connection));
    kept = KEPT_MS;
  }
  pause_ms(kept);
  PQclear(result);
  PQfinish(connection);
  pgentra_error_free(error);
}

static void *repeat(void *unused) {
  (void)unused;
  for (;;) log_in();
  return NULL;
}

int main(void) {
  for (int index = 0; index < THREADS; index++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, repeat, NULL) != 0) return 1;
    pthread_detach(thread);
  }
  /* Standard input ends when the program is to end. */
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
