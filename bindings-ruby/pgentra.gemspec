# frozen_string_literal: true

require_relative "lib/pgentra/version"

Gem::Specification.new do |spec|
  spec.name = "pgentra"
  spec.version = Pgentra::VERSION
  spec.authors = ["The pgentra developers"]
  spec.summary = "Log in to PostgreSQL with a Microsoft Entra identity instead of a password"
  spec.description = "Access tokens of Microsoft Entra as passwords for Azure Database for PostgreSQL: with pg, Active Record " \
                     "and Sequel, and every credential of the Azure SDKs."
  spec.license = "MIT"
  spec.homepage = "https://github.com/pgentra/pgentra"
  spec.metadata = {
    "source_code_uri" => spec.homepage,
    "documentation_uri" => "#{spec.homepage}/blob/main/docs/ruby.md",
    "changelog_uri" => "#{spec.homepage}/blob/main/CHANGELOG.md",
    "bug_tracker_uri" => "#{spec.homepage}/issues",
    "rubygems_mfa_required" => "true"
  }
  spec.required_ruby_version = ">= 3.1"
  # A gem with the library of one platform, see tools/package.sh. The gem without one uses an installed libpgentra.
  spec.platform = ENV["PGENTRA_GEM_PLATFORM"] if ENV["PGENTRA_GEM_PLATFORM"]
  spec.files = Dir["lib/**/*.rb", "lib/pgentra/native/*", "README.md", "LICENSE"]
  spec.add_dependency "ffi", ">= 1.15"
end
