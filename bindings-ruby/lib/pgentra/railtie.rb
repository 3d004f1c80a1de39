# frozen_string_literal: true

module Pgentra
  # Makes the key `entra` of config/database.yml effective, and passes the library's events to Rails.logger.
  class Railtie < Rails::Railtie # :nodoc:
    initializer "pgentra.active_record" do
      ActiveSupport.on_load(:active_record) { require "pgentra/active_record" }
      config.after_initialize { Pgentra.logger ||= Rails.logger }
    end
  end
end
