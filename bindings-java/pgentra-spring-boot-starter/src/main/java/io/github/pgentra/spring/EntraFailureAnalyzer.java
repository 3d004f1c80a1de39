package io.github.pgentra.spring;

import org.springframework.boot.diagnostics.AbstractFailureAnalyzer;
import org.springframework.boot.diagnostics.FailureAnalysis;

/** Prints an {@link EntraConfigurationException} as Spring Boot prints other failures of the start. */
final class EntraFailureAnalyzer extends AbstractFailureAnalyzer<EntraConfigurationException> {
    @Override
    protected FailureAnalysis analyze(Throwable rootFailure, EntraConfigurationException cause) {
        return new FailureAnalysis(cause.description(), cause.action(), cause);
    }
}
