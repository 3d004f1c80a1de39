using System.Runtime.InteropServices;

namespace PgEntra.Interop;

/// <summary>Converts the engine's strings.</summary>
internal static class NativeString
{
    /// <summary>Copies a string of the engine, and frees it.</summary>
    internal static string? Take(nint text)
    {
        try
        {
            return Marshal.PtrToStringUTF8(text);
        }
        finally
        {
            Native.FreeString(text);
        }
    }
}
