package pgentra

// ErrorKinds returns the codes of the library.
func ErrorKinds() ([]ErrorCode, error) {
	kinds, err := nativeErrorKinds()
	var codes []ErrorCode
	for _, kind := range kinds {
		codes = append(codes, kind.Code)
	}
	return codes, err
}

// HeaderVersion is the version of the header beside the Go files.
const HeaderVersion = headerVersion
