# frozen_string_literal: true

require "pgentra/pg"
require_relative "setup"

# The server, the database and the TLS mode are in PGHOST, PGDATABASE and PGSSLMODE.
report do
  PG.connect(entra: true) { |connection| connection.exec("select current_user").getvalue(0, 0) }
end
