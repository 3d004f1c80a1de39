package io.github.pgentra.spring;

import org.springframework.boot.autoconfigure.condition.AnyNestedCondition;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;

/** The properties that enable the auto-configuration. */
final class EnabledCondition extends AnyNestedCondition {
    EnabledCondition() {
        super(ConfigurationPhase.PARSE_CONFIGURATION);
    }

    @ConditionalOnProperty(name = EntraProperties.ENABLED, havingValue = "true")
    static final class Enabled {}

    @ConditionalOnProperty(name = EntraProperties.PASSWORDLESS, havingValue = "true")
    static final class Passwordless {}
}
