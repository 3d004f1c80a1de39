# frozen_string_literal: true

module Pgentra
  VERSION = "0.1.0"
end
