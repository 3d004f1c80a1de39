using System.Reflection;
using System.Runtime.InteropServices;

namespace PgEntra.Interop;

/// <summary>Loads the engine's shared library, and reports a platform that the package does not support.</summary>
internal static unsafe class NativeLoader
{
    /// <summary>The version of the C interface that <see cref="Native"/> declares.</summary>
    internal const uint AbiVersion = 1;

    internal const string Name = "pgentra";

    /// <summary>The runtime identifiers of the package's native libraries.</summary>
    private static string Platforms => typeof(NativeLoader).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .FirstOrDefault(one => one.Key == "PgEntraPlatforms")?.Value ?? "";

    internal static void Register()
    {
        try
        {
            NativeLibrary.SetDllImportResolver(typeof(NativeLoader).Assembly, static (name, assembly, path) => Load(name, assembly, path));
        }
        catch (InvalidOperationException)
        {
            // The application has set a resolver for this assembly, which is used.
        }
    }

    /// <summary>Loads a library.</summary>
    /// <exception cref="PlatformNotSupportedException">There is no library for this platform, or it cannot be loaded.</exception>
    /// <exception cref="DllNotFoundException">The library has another version.</exception>
    internal static nint Load(string name, Assembly assembly, DllImportSearchPath? path)
    {
        if (name != Name)
        {
            return 0;
        }

        nint library;
        try
        {
            library = NativeLibrary.Load(name, assembly, path);
        }
        catch (Exception failure) when (failure is DllNotFoundException or BadImageFormatException)
        {
            throw new PlatformNotSupportedException(
                $"PgEntra cannot load its native library on {RuntimeInformation.RuntimeIdentifier} ({RuntimeInformation.OSDescription}, "
                    + $"{RuntimeInformation.ProcessArchitecture}). The package PgEntra {assembly.GetName().Version?.ToString(3)} "
                    + $"contains it for {Platforms}. Run the program on one of these platforms.",
                failure);
        }

        // The engine is never unloaded, so a wrong one is not freed either.
        var version = ((delegate* unmanaged[Cdecl]<uint>)NativeLibrary.GetExport(library, "pgentra_abi_version"))();
        return version == AbiVersion
            ? library
            : throw new DllNotFoundException(
                $"libpgentra has ABI version {version}, and PgEntra needs version {AbiVersion}. Install matching versions of both.");
    }
}
