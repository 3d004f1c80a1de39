# frozen_string_literal: true

require_relative "pg"
require "active_record/connection_adapters/postgresql_adapter"
require "active_record/tasks/database_tasks"

module Pgentra
  # What Active Record needs beside the keyword `entra`: errors with the explanation, and psql and pg_dump that log in.
  module ActiveRecord # :nodoc:
    # Active Record calls every message with the database's name in it a missing database.
    module NewClient # :nodoc:
      def new_client(*arguments)
        super
      rescue ::ActiveRecord::NoDatabaseError, ::ActiveRecord::ConnectionNotEstablished => e
        raise unless e.cause.is_a?(LoginRejected)

        raise ::ActiveRecord::ConnectionNotEstablished, e.cause.message, cause: e.cause
      end
    end

    # The variables of psql and pg_dump for a connection with `entra`: the role and a token, only while the block runs.
    def self.with_psql_environment(configuration)
      variables = psql_environment(configuration)
      before = variables.to_h { |name, _| [name, ENV.fetch(name, nil)] }
      ENV.update(variables)
      yield
    ensure
      ENV.update(before) unless before.nil?
    end

    def self.psql_environment(configuration)
      entra = configuration[:entra]
      return {} if entra.nil? || [false, "false"].include?(entra)

      names = { host: :host, port: :port, database: :dbname, username: :user, password: :password, sslmode: :sslmode,
                sslrootcert: :sslrootcert }
      arguments = names.filter_map { |from, to| [to, configuration[from]] unless configuration[from].nil? }.to_h
      attempt = LoginAttempt.new({ arguments: arguments }, entra == "true" ? true : entra)
      mode = attempt.plan["sslmode"] || configuration[:sslmode]
      variables = { "PGSSLMODE" => mode, "PGSSLROOTCERT" => configuration[:sslrootcert] }.compact
      return variables unless attempt.uses_entra?

      login = attempt.login
      variables.merge("PGUSER" => login.user, "PGPASSWORD" => login.password)
    end

    # structure.sql: Rails 6.1 to 8 run psql and pg_dump by this method.
    module RunCommand # :nodoc:
      private

      def run_cmd(*arguments)
        configuration = @configuration_hash || @db_config&.configuration_hash || {}
        ActiveRecord.with_psql_environment(configuration) { super }
      end
    end

    # `rails dbconsole` of Active Record 7.1 and newer, which replaces the process by psql.
    module Console # :nodoc:
      def dbconsole(config, options = {})
        ENV.update(ActiveRecord.psql_environment(config.configuration_hash))
        super
      end
    end

    def self.install
      adapter = ::ActiveRecord::ConnectionAdapters::PostgreSQLAdapter.singleton_class
      adapter.prepend(NewClient)
      adapter.prepend(Console) if adapter.method_defined?(:dbconsole)
      ::ActiveRecord::Tasks::PostgreSQLDatabaseTasks.prepend(RunCommand)
    end
  end

  ActiveRecord.install
end
