# frozen_string_literal: true

module Pgentra
  # Makes the key `entra` of config/database.yml effective, and passes the library's events to Rails.logger.
  class Railtie < Rails::Railtie # :nodoc:
    # Not in an initializer: `rails dbconsole` runs none.
    ActiveSupport.on_load(:active_record) { require "pgentra/active_record" }

    config.after_initialize { Pgentra.logger ||= Rails.logger }

    # `rails dbconsole` before Rails 7.1, which runs psql itself.
    module Console
      def start
        require "pgentra/active_record"
        unless ::ActiveRecord::ConnectionAdapters::PostgreSQLAdapter.respond_to?(:dbconsole)
          ENV.update(Pgentra::ActiveRecord.psql_environment(db_config.configuration_hash))
        end
        super
      end
    end

    Rails::DBConsole.prepend(Console) if defined?(Rails::DBConsole)
  end
end
