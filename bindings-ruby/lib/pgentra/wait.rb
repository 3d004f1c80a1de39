# frozen_string_literal: true

module Pgentra
  # Waits in parts, so that Timeout, Thread#kill and signals are handled meanwhile.
  module Wait # :nodoc:
    PART_S = 0.2
    LIMIT_S = 30.0

    # Calls a function that takes the limit in milliseconds and the output of the error.
    def self.for(queues, timeout)
      queues.each(&:start)
      error = Library.output
      deadline = now + (timeout || LIMIT_S)
      loop do
        part = (deadline - now).clamp(0, PART_S)
        kind = yield((part * 1000).ceil, error)
        break if kind == Library::OK
        raise Library.error(error) if kind != Library::TIMEOUT || now >= deadline

        Library.pgentra_error_free(error.read_pointer)
        error.write_pointer(nil)
      end
      Logging.pass
    end

    def self.now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
