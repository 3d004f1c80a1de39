# frozen_string_literal: true

# Prints the role that the block returns, with the time.
def report
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  role = yield
  took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
  puts "sync: logged in as #{role} after #{(took * 1000).to_i} ms"
rescue StandardError => e
  warn "#{e.class}: #{e.message}"
  exit 1
end
