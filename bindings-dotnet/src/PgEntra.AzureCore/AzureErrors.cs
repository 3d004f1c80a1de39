using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using PgEntra.Identity;

namespace PgEntra.AzureCore;

/// <summary>Converts errors to those of Azure.Identity, on which this package does not depend.</summary>
internal static class AzureErrors
{
    private static readonly ConstructorInfo? Unavailable =
        Constructor(Type.GetType("Azure.Identity.CredentialUnavailableException, Azure.Identity"));

    private static readonly ConstructorInfo? Failed =
        Constructor(Type.GetType("Azure.Identity.AuthenticationFailedException, Azure.Identity"));

    internal static Exception Of(PgEntraException failure)
    {
        var constructor = failure switch
        {
            PgEntra.Identity.CredentialUnavailableException => Unavailable,
            PgEntra.Identity.AuthenticationFailedException => Failed,
            _ => null,
        };
        return constructor?.Invoke([failure.Message, failure]) as Exception ?? failure;
    }

    private static ConstructorInfo? Constructor(
        [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] Type? type) =>
        type?.GetConstructor([typeof(string), typeof(Exception)]);
}
