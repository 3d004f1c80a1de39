/* Shared by the samples: the connection, and the line that they print. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <libpq-fe.h>
#include <stdio.h>
#include <time.h>

/* Connects as `user`. libpq reads PGHOST, PGPORT, PGDATABASE and PGSSLROOTCERT. */
static PGconn *connect_as(const char *user, const char *password) {
  /* A token is a password: verify-full sends it over TLS only, to the server that the certificate names. */
  const char *const keywords[] = {"sslmode", "user", "password", NULL};
  const char *const values[] = {"verify-full", user, password, NULL};
  return PQconnectdbParams(keywords, values, 0);
}

/* Prints the role that is logged in. */
static int report(const char *sample, PGconn *connection, const struct timespec *started) {
  struct timespec now;
  int failed = 1;
  PGresult *result = NULL;
  if (PQstatus(connection) == CONNECTION_OK) {
    result = PQexec(connection, "select current_user");
  }
  if (PQresultStatus(result) == PGRES_TUPLES_OK) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    const long ms = (now.tv_sec - started->tv_sec) * 1000 + (now.tv_nsec - started->tv_nsec) / 1000000;
    printf("%s: logged in as %s after %ld ms\n", sample, PQgetvalue(result, 0, 0), ms);
    failed = 0;
  } else {
    fprintf(stderr, "%s: %s", sample, PQerrorMessage(connection));
  }
  PQclear(result);
  return failed;
}

static inline int log_in(const char *sample, const char *user, const char *password, const struct timespec *started) {
  PGconn *connection = connect_as(user, password);
  const int failed = report(sample, connection, started);
  PQfinish(connection);
  return failed;
}

#endif
