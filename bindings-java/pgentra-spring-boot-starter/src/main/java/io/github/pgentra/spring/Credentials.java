package io.github.pgentra.spring;

import io.github.pgentra.identity.Credential;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.ListableBeanFactory;
import org.springframework.beans.factory.NoSuchBeanDefinitionException;
import org.springframework.util.ClassUtils;

/** Finds the bean that is the credential. */
final class Credentials {
    private Credentials() {}

    /**
     * Returns the credential of a bean, or null if the properties describe it.
     *
     * @param name a bean's name; null: the only bean of our type, unless a property names a credential
     */
    static Credential find(BeanFactory beans, String name, boolean isDescribed) {
        if (name == null) {
            return isDescribed || !(beans instanceof ListableBeanFactory) ? null : beans.getBeanProvider(Credential.class).getIfUnique();
        }
        Object bean;
        try {
            bean = beans.getBean(name);
        } catch (NoSuchBeanDefinitionException e) {
            throw new EntraConfigurationException(
                    "The token credential bean " + name + " does not exist",
                    "Define the bean, or remove token-credential-bean-name.",
                    e);
        }
        if (bean instanceof Credential ours) {
            return ours;
        }
        ClassLoader loader = Credentials.class.getClassLoader();
        String type = "com.azure.core.credential.TokenCredential";
        if (isInstance(bean, type)) {
            if (ClassUtils.isPresent("io.github.pgentra.azure.AzureCredential", loader)) {
                return AzureCredentials.of(bean);
            }
            throw new EntraConfigurationException(
                    "The token credential bean " + name + " is one of azure-core, which pgentra cannot use by itself",
                    "Add the dependency io.github.pgentra:pgentra-azure.");
        }
        throw new EntraConfigurationException(
                "The token credential bean " + name + " is a " + bean.getClass().getName() + " and not a credential",
                "Return a credential of io.github.pgentra.identity, or a TokenCredential of azure-core.");
    }

    private static boolean isInstance(Object bean, String type) {
        try {
            return ClassUtils.forName(type, bean.getClass().getClassLoader()).isInstance(bean);
        } catch (ClassNotFoundException | LinkageError e) {
            return false;
        }
    }

    /** Loaded only where azure-core is on the class path. */
    private static final class AzureCredentials {
        static Credential of(Object bean) {
            return io.github.pgentra.azure.AzureCredential.of((com.azure.core.credential.TokenCredential) bean);
        }
    }
}
