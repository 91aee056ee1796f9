//go:build tools

// Package multus names the program that gives a pod several networks: each is asked of its own plugin. Comments name the
// programs.
package multus

import (
	_ "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus" // multus
)
