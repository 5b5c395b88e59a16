# Programs with a mistake, each of which must be found under its name (exit code 97).
function(vgpu_broken PROGRAM)
  foreach(case ${ARGN})
    string(REPLACE "=" ";" case ${case})
    list(GET case 0 name)
    list(GET case 1 finding)
    vgpu_test(${PROGRAM}.${name} 97 "^vgpu: ${finding}: " ${PROGRAM} ARGUMENT ${name}
              ENVIRONMENT TRIREME_VGPU_DEVICES=2 TRIREME_VGPU_THREADS=1
                          TRIREME_VGPU_MAX_INSTRUCTIONS=1000000)
  endforeach()
endfunction()

foreach(program broken_shared broken_global broken_warp broken_host refused semantics streams kernels tensor_cores
                warp_wide talk_to_host counters mapping)
  vgpu_program(${program} ${program})
endforeach()

vgpu_broken(broken_shared
  missing_barrier=shared-race missing_syncwarp=shared-race two_writers=shared-race missing_second_barrier=shared-race
  atomic_and_read=shared-race wait_without_barrier=shared-race ldmatrix_too_early=shared-race
  producer_too_fast=shared-race uninitialised=uninitialised-shared beyond_static=out-of-bounds
  beyond_dynamic=out-of-bounds misaligned=misaligned no_wait=missing-wait short_wait=missing-wait
  wrong_named_barrier=divergent-barrier)
vgpu_broken(broken_global
  read_beyond=out-of-bounds read_before=out-of-bounds write_beyond=out-of-bounds null_pointer=out-of-bounds
  misaligned=misaligned uninitialised=uninitialised-global same_place=global-race neighbour_block=global-race
  atomic_and_plain=global-race flag_without_fence=global-race read_only_cache=global-race host_pointer=host-pointer
  use_after_free=use-after-free other_device=other-device)
vgpu_broken(broken_warp
  barrier_in_branch=divergent-barrier barrier_for_one_warp=divergent-barrier shuffle_in_branch=wrong-mask
  not_in_own_mask=wrong-mask masks_disagree=wrong-mask mma_in_branch=wrong-mask
  undefined_register=uninitialised-register undefined_in_some_lanes=uninitialised-register endless=endless)
vgpu_broken(broken_host
  too_many_threads=launch-limits no_blocks=launch-limits beyond_launch_bounds=launch-limits
  too_much_shared=launch-limits wrong_copy=wrong-copy copy_beyond=out-of-bounds copy_of_nothing=uninitialised-global
  set_beyond=out-of-bounds host_reads_device=device-pointer double_free=invalid-free free_of_middle=invalid-free
  free_of_host=invalid-free leak=leak missing_event=missing-event copy_too_early=missing-event)
vgpu_test(refused 98 "unknown instruction wmma.store" refused)

# Right programs, which check their results themselves.
vgpu_test(semantics 0 "all instructions agree" semantics)
foreach(program kernels tensor_cores warp_wide)
  vgpu_test(${program} 0 "^fine" ${program})
  vgpu_test(${program}.shuffled 0 "^fine" ${program} ENVIRONMENT TRIREME_VGPU_SHUFFLE=7)
endforeach()
vgpu_test(talk_to_host.print 0 "^thread 1: -7,  1.50, text, c, 100%, 1099511627776$" talk_to_host ARGUMENT print)
vgpu_test(talk_to_host.assert 0 "talk_to_host.cu:[0-9]*: .*check.*block: (0,0,0), thread: (31,0,0) Assertion" talk_to_host
          ARGUMENT assert)
vgpu_test(talk_to_host.trap 0 "" talk_to_host ARGUMENT trap)

# Streams: what is right must be right whenever the work is done.
foreach(case events default_stream rows host_function properties)
  foreach(mode eager lazy)
    vgpu_test(streams.${case}.${mode} 0 "^fine" streams ARGUMENT ${case} ENVIRONMENT TRIREME_VGPU_STREAMS=${mode})
  endforeach()
endforeach()
vgpu_test(streams.two_devices 0 "^fine" streams ARGUMENT two_devices ENVIRONMENT TRIREME_VGPU_DEVICES=2)
foreach(case lazy_copies lazy_result)
  vgpu_test(streams.${case} 0 "^fine" streams ARGUMENT ${case} ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
endforeach()
vgpu_test(streams.missing_event.lazy 97 "^vgpu: missing-event: " broken_host ARGUMENT missing_event
          ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
vgpu_test(streams.with_event.lazy 0 "" broken_host ARGUMENT with_event ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)

# Memory mapped to addresses.
vgpu_broken(mapping
  nothing_there=unmapped set_of_nothing=unmapped no_access=unmapped beyond=unmapped uninitialised=uninitialised-global
  missing_event=missing-event unmap_early=unmapped-too-early leak_of_addresses=leak leak_of_memory=leak)
vgpu_test(mapping.unmap_early.lazy 97 "^vgpu: unmapped-too-early: " mapping ARGUMENT unmap_early
          ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
foreach(case two_addresses unmap_other refused release_mapped)
  foreach(mode eager lazy)
    vgpu_test(mapping.${case}.${mode} 0 "^fine" mapping ARGUMENT ${case} ENVIRONMENT TRIREME_VGPU_STREAMS=${mode})
  endforeach()
endforeach()

# Capture of streams into graphs.
vgpu_program(graphs graphs)
foreach(case chain fork update not_allowed unjoined implicit)
  foreach(mode eager lazy)
    vgpu_test(graphs.${case}.${mode} 0 "^fine" graphs ARGUMENT ${case} ENVIRONMENT TRIREME_VGPU_STREAMS=${mode})
  endforeach()
endforeach()
vgpu_broken(graphs branches_race=missing-event not_waited_for=missing-event)
vgpu_test(graphs.launches 0 "launches 0, library_calls 0, fills 1$" graphs ARGUMENT chain ENVIRONMENT TRIREME_VGPU_COUNTERS=1)

# The library of matrix products, which checks its operands as kernels are checked.
vgpu_program(cublas_lt cublas_lt -gencode arch=compute_80,code=compute_80 -lcublasLt)
vgpu_test(cublas_lt 0 "^fine" cublas_lt ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
vgpu_test(cublas_lt.captured 0 "^fine" cublas_lt ARGUMENT captured ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
vgpu_broken(cublas_lt uninitialised=uninitialised-global missing_event=missing-event host_pointer=host-pointer
            beyond=out-of-bounds)

# Graphs of cuDNN's operations.
if(TARGET vgpu_cudnn AND TRIREME_CUDNN)
  vgpu_program(cudnn cudnn -gencode arch=compute_80,code=compute_80 -I${TRIREME_CUDNN_INCLUDE} ${TRIREME_CUDNN})
  vgpu_test(cudnn.eager 0 "^fine" cudnn)
  vgpu_test(cudnn.lazy 0 "^fine" cudnn ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
  vgpu_test(cudnn.captured 0 "^fine" cudnn ARGUMENT captured ENVIRONMENT TRIREME_VGPU_STREAMS=lazy)
  vgpu_broken(cudnn uninitialised=uninitialised-global missing_event=missing-event host_pointer=host-pointer
              beyond=out-of-bounds)
endif()

# The library that joins processes: it is told apart who does what, and whether it is there.
if(TARGET vgpu_nccl AND TRIREME_NCCL)
  vgpu_program(nccl nccl -gencode arch=compute_80,code=compute_80 -I${TRIREME_NCCL_INCLUDE} ${TRIREME_NCCL})
  foreach(mode eager lazy)
    vgpu_test(nccl.${mode} 0 "^fine" nccl ENVIRONMENT TRIREME_VGPU_DEVICES=2 TRIREME_VGPU_STREAMS=${mode})
    foreach(case count=mismatch type=mismatch reduction=mismatch root=mismatch order=mismatch message=mismatch
                 missing=missing-rank gone=missing-rank absent=missing-rank both_send_first=missing-rank
                 beyond=out-of-bounds host_pointer=host-pointer uninitialised=uninitialised-global
                 missing_event=missing-event read_too_early=missing-event not_settled=missing-event
                 memory_of_other_device=other-device stream_of_other_device=other-device
                 destroyed=communicator busy=communicator leak=leak)
      string(REPLACE "=" ";" case ${case})
      list(GET case 0 name)
      list(GET case 1 finding)
      set(timeout 60)
      if(finding STREQUAL missing-rank)
        set(timeout 1)
      endif()
      vgpu_test(nccl.${name}.${mode} 97 "^vgpu: ${finding}: " nccl ARGUMENT ${name}
                ENVIRONMENT TRIREME_VGPU_DEVICES=2 TRIREME_VGPU_STREAMS=${mode} TRIREME_VGPU_NCCL_TIMEOUT=${timeout})
    endforeach()
  endforeach()
  vgpu_test(nccl.same_device 1 "Duplicate GPU" nccl ARGUMENT same_device ENVIRONMENT TRIREME_VGPU_DEVICES=2)
  vgpu_test(nccl.names_the_calls 97
            "collective 1 of 'pair': rank [01] calls AllReduce(sum) of .* float32, rank [01] calls AllReduce(sum)" nccl
            ARGUMENT count ENVIRONMENT TRIREME_VGPU_DEVICES=2)
  vgpu_test(nccl.names_the_missing 97
            "collective 2 of 'pair', AllReduce(sum) of 1000 float32 on rank 0: rank 1 never came; rank 1 is gone" nccl
            ARGUMENT gone ENVIRONMENT TRIREME_VGPU_DEVICES=2 TRIREME_VGPU_NCCL_TIMEOUT=1)
endif()

# A report says where; what is ignored is not reported.
vgpu_test(report.kernel 97 "^  kernel   write_at(float\\*, int)$" broken_global ARGUMENT write_beyond)
vgpu_test(report.thread 97 "^  block    (0,0,0), thread (63,0,0)$" broken_global ARGUMENT write_beyond)
vgpu_test(report.ptx 97 "^  ptx      line [0-9]*: st.global.u32 " broken_global ARGUMENT write_beyond)
vgpu_test(report.source 97 "^  source   .*broken_global.cu:[0-9]*$" broken_global ARGUMENT write_beyond)
vgpu_test(ignored 0 "" broken_host ARGUMENT leak ENVIRONMENT TRIREME_VGPU_IGNORE=leak)
vgpu_test(not_ignorable 98 "no finding that can be ignored" broken_host ARGUMENT leak
          ENVIRONMENT TRIREME_VGPU_IGNORE=out-of-bounds)

# Counters of kernels whose traffic is known: sectors, and passes lost to bank conflicts.
foreach(expected "256, global_sectors 8" "256, global_sectors 36" "shared_accesses 33, shared_conflicts 31"
                 "shared_accesses 8, shared_conflicts 0")
  string(MAKE_C_IDENTIFIER ${expected} name)
  vgpu_test(counters.${name} 0 "${expected}$" counters ENVIRONMENT TRIREME_VGPU_COUNTERS=1)
endforeach()
# 6 blocks x 4 warps x 5 tiles x 2 steps x 8 columns; two barriers for each warp and tile.
vgpu_test(counters.mma 0 "  mma 1920, barriers 240$" tensor_cores ENVIRONMENT TRIREME_VGPU_COUNTERS=1)

# What a process does in all: two kernels in order, their result fetched, one event waited for.
foreach(expected "launches 2, library_calls 0, fills 1" "copies_to_device 0, bytes_to_device 0"
                 "copies_to_host 1, bytes_to_host 4000" "event_waits 1, device_waits 0, copies_waited 0"
                 "allocations 2, frees 2")
  string(MAKE_C_IDENTIFIER ${expected} name)
  vgpu_test(counters.${name} 0 "${expected}$" streams ARGUMENT events
            ENVIRONMENT TRIREME_VGPU_COUNTERS=1 TRIREME_VGPU_STREAMS=lazy)
endforeach()

# Lines of source: those of both sides of a branch, of which one is taken, and of what they call.
vgpu_program(lines lines)
add_test(NAME vgpu.lines
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/lines_test.sh env LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}/vgpu
                 ${sanitizer_environment} ${CMAKE_CURRENT_BINARY_DIR}/lines)
set_tests_properties(vgpu.lines PROPERTIES TIMEOUT 120)

# Device code compressed in every way that fatbinary knows, alone and beside SASS.
foreach(mode none size speed balance)
  vgpu_program(kernels_${mode} kernels -gencode arch=compute_80,code=[sm_80,compute_80] --compress-mode=${mode})
  vgpu_test(fatbin.${mode} 0 "^fine" kernels_${mode})
endforeach()
