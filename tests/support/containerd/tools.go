//go:build tools

// Package containerd names the current containerd that the tests build and run beside Debian's. Comments name programs.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"              // containerd
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2" // containerd-shim-runc-v2
	_ "github.com/containerd/containerd/v2/cmd/ctr"                     // ctr
)
