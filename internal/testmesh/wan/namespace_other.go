//go:build !linux

package wan

import (
	"context"
	"errors"
)

var errNotLinux = errors.New("network namespaces need Linux")

// IsUnavailable reports whether an error of OpenNamespaces means that this
// machine or user cannot have namespaces.
func IsUnavailable(err error) bool { return errors.Is(err, errNotLinux) }

// OpenNamespaces fails: network namespaces need Linux.
func OpenNamespaces(context.Context, Config) (Network, error) { return nil, errNotLinux }
