using System.Data.Common;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>The engine's rules for login errors of a server.</summary>
internal static class LoginErrors
{
    /// <summary>Returns whether a newer token may resolve the error.</summary>
    internal static bool IsRetriable(DbException error) => Native.IsLoginErrorRetriable(error.SqlState, Clean(error.Message));

    /// <summary>Returns lines about the principal, the role and what to do; <see langword="null"/> if it is not a login error.</summary>
    /// <param name="error">The server's error.</param>
    /// <param name="role">The role that was used.</param>
    /// <param name="roleSource">Where the role came from.</param>
    /// <param name="token">The token that was used.</param>
    /// <param name="host">The servers, if the connection does not use Azure Service Connector's variables.</param>
    internal static string? Explain(DbException error, string role, string? roleSource, string? token, string? host)
    {
        var environment = host is null ? null : JsonWriting.Object(writer => writer.WriteEnvironment());
        var code = Native.ExplainLoginError(
            error.SqlState, Clean(error.Message), Clean(role), roleSource, token, host, environment, out var text, out var failure);
        NativeError.Check(code, failure);
        return NativeString.Take(text) is { Length: > 0 } explanation ? explanation : null;
    }

    /// <summary>Replaces NUL, which ends a C string.</summary>
    private static string Clean(string text) => text.Replace('\0', ' ');
}
