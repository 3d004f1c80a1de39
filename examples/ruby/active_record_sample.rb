# frozen_string_literal: true

require "active_record"
require "pgentra/active_record"
require_relative "setup"

# In Rails, the same keys are in config/database.yml, and nothing is required.
report do
  ActiveRecord::Base.establish_connection(adapter: "postgresql", host: ENV.fetch("PGHOST"), port: ENV.fetch("PGPORT", 5432),
                                          database: ENV.fetch("PGDATABASE"), sslmode: "verify-full", entra: true)
  ActiveRecord::Base.connection.select_value("select current_user")
end
