# frozen_string_literal: true

module Pgentra
  # The events of the library, for a Logger.
  module Logging # :nodoc:
    # Levels of Logger by those of the library: error, warning, info, debug.
    SEVERITIES = { 1 => 3, 2 => 2, 3 => 1, 4 => 0 }.freeze
    @logger = nil
    @passing = Mutex.new

    class << self
      attr_reader :logger

      def logger=(logger)
        @logger = logger
        # The least severe level that the logger keeps.
        level = logger.nil? ? 0 : SEVERITIES.select { |_, severity| logger.level <= severity }.keys.max || 0
        Library.pgentra_set_log_queue(level, nil)
      end

      # Passes the events that wait.
      def pass
        return if @logger.nil? || !@passing.try_lock

        begin
          level = FFI::MemoryPointer.new(:int32)
          target = Library.output
          message = Library.output
          1000.times do
            Library.pgentra_log_next(level, target, message, nil)
            text = Library.take(message)
            name = Library.take(target)
            break if text.nil?

            @logger.add(SEVERITIES.fetch(level.read_int32, 0), text, name)
          end
        ensure
          @passing.unlock
        end
      end

      # Logs a warning about a connection's settings.
      def warn(message)
        if @logger.nil?
          Kernel.warn("pgentra: #{message}")
        else
          @logger.add(2, message, "pgentra")
        end
      end
    end
  end

  # Returns the logger, or nil.
  def self.logger
    Logging.logger
  end

  # Sets the Logger that receives the library's events. They are passed by the next call of this gem. nil: events are dropped, and
  # warnings about a connection go to the standard error.
  def self.logger=(logger)
    Logging.logger = logger
  end
end
