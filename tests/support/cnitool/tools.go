//go:build tools

// Package cnitool names the CNI project's own caller of plugins, libcni's list execution as a program, and one of ours
// for the verb that it lacks. Comments name the programs.
package cnitool

import (
	_ "bgpnet.test/cnitool/validate"               // validate
	_ "github.com/containernetworking/cni/cnitool" // cnitool
)
