namespace PgEntra;

/// <summary>The last token that the current asynchronous flow used for a login, so that a login error can be related to it.</summary>
/// <remarks>Npgsql does not report login errors to its password provider.</remarks>
internal sealed class LoginAttempt : IDisposable
{
    private static readonly AsyncLocal<LoginAttempt?> Current = new();
    private static int recording;

    private readonly LoginAttempt? outer = Current.Value;

    private LoginAttempt()
    {
    }

    /// <summary>The data source's authentication; <see langword="null"/> if no token was used.</summary>
    internal EntraAuthentication? Authentication { get; private set; }

    /// <summary>The role.</summary>
    internal string Role { get; private set; } = "";

    /// <summary>The token.</summary>
    internal string Token { get; private set; } = "";

    /// <summary>Starts to record the logins of the current flow.</summary>
    internal static LoginAttempt Begin()
    {
        _ = Interlocked.Increment(ref recording);
        return Current.Value = new();
    }

    /// <summary>Records a login. Without a recording flow in the process it costs one comparison.</summary>
    internal static void Record(EntraAuthentication authentication, string? role, string token)
    {
        if (recording > 0 && Current.Value is { } attempt)
        {
            (attempt.Authentication, attempt.Role, attempt.Token) = (authentication, role ?? "", token);
        }
    }

    public void Dispose()
    {
        Current.Value = outer;
        _ = Interlocked.Decrement(ref recording);
    }
}
