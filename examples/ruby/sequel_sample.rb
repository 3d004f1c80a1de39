# frozen_string_literal: true

require "pgentra/pg"
require "sequel"
require_relative "setup"

report do
  database = Sequel.connect(adapter: "postgres", host: ENV.fetch("PGHOST"), port: ENV.fetch("PGPORT", 5432),
                            database: ENV.fetch("PGDATABASE"), driver_options: { entra: true, sslmode: "verify-full" })
  database.fetch("select current_user as role").first[:role]
end
