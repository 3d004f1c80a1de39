namespace PgEntra;

/// <summary>When tokens are refreshed.</summary>
public enum RefreshMode
{
    /// <summary>In the background, when a token is requested after its refresh point.</summary>
    Background = 0,

    /// <summary>Only while a caller waits. For platforms that suspend the process between calls.</summary>
    Lazy = 1,

    /// <summary>In the background at the refresh point, even if no token is requested.</summary>
    Ahead = 2,
}
