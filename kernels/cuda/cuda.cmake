# The CUDA toolkit, and how .cu files are compiled.  CMake's own CUDA language isn't used: 3.25 knows no C++20 for this
# nvcc, and what ptxas says of each kernel is kept beside its object, for tests/kernels/cuda to read.
if(NOT TRIREME_NVCC)
  message(FATAL_ERROR "TRIREME_CUDA is ON, and there is no nvcc on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin")
endif()
# Through links, to the toolkit that it belongs to.
file(REAL_PATH ${TRIREME_NVCC} nvcc)
get_filename_component(TRIREME_CUDA_TOOLKIT ${nvcc} DIRECTORY)
get_filename_component(TRIREME_CUDA_TOOLKIT ${TRIREME_CUDA_TOOLKIT} DIRECTORY)
find_path(TRIREME_CUDA_INCLUDE cuda_runtime_api.h REQUIRED
          HINTS ${TRIREME_CUDA_TOOLKIT}/include ${TRIREME_CUDA_TOOLKIT}/targets/x86_64-linux/include)
find_library(TRIREME_CUDART cudart REQUIRED
             HINTS ${TRIREME_CUDA_TOOLKIT}/lib64 ${TRIREME_CUDA_TOOLKIT}/targets/x86_64-linux/lib)
find_library(TRIREME_CUBLASLT cublasLt REQUIRED
             HINTS ${TRIREME_CUDA_TOOLKIT}/lib64 ${TRIREME_CUDA_TOOLKIT}/targets/x86_64-linux/lib)
# Without it each CUDA device trains alone.
find_path(TRIREME_NCCL_INCLUDE nccl.h HINTS ENV NCCL_HOME ${TRIREME_CUDA_TOOLKIT} PATH_SUFFIXES include)
find_library(TRIREME_NCCL nccl HINTS ENV NCCL_HOME ${TRIREME_CUDA_TOOLKIT} PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
if(NOT TRIREME_NCCL_INCLUDE)
  unset(TRIREME_NCCL CACHE)
endif()

# Without it all attention is ours.
find_path(TRIREME_CUDNN_INCLUDE cudnn_graph.h HINTS ENV CUDNN_HOME ${TRIREME_CUDA_TOOLKIT} PATH_SUFFIXES include)
find_library(TRIREME_CUDNN cudnn HINTS ENV CUDNN_HOME ${TRIREME_CUDA_TOOLKIT} PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
if(NOT TRIREME_CUDNN_INCLUDE)
  unset(TRIREME_CUDNN CACHE)
endif()

add_library(trireme_cuda_runtime INTERFACE)
target_include_directories(trireme_cuda_runtime SYSTEM INTERFACE ${TRIREME_CUDA_INCLUDE})
# A run path that LD_LIBRARY_PATH comes before (DT_RUNPATH): tests put the virtual GPU there.
target_link_options(trireme_cuda_runtime INTERFACE -Wl,--enable-new-dtags)
target_link_libraries(trireme_cuda_runtime INTERFACE ${TRIREME_CUDART} ${TRIREME_CUBLASLT})

# PTX goes with the machine code, for GPUs to come and for the virtual one.
set(TRIREME_NVCC_FLAGS -std=c++20 -O3 -lineinfo -DNDEBUG -DTRIREME_HAS_CUDA=1 -I${CMAKE_SOURCE_DIR}
    -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90,code=sm_90
    -Xcompiler -fPIC,-Wall,-Wextra -Werror all-warnings
    # Registers that don't fit, and arrays that are indexed at run time, would go through slow local memory.
    -Xptxas -v,--warn-on-spills,--warn-on-local-memory-usage,-Werror)
set(TRIREME_NVCC_LAUNCHER ${CCACHE})
if(NOT TRIREME_NVCC_LAUNCHER)
  set(TRIREME_NVCC_LAUNCHER ${CMAKE_COMMAND} -E env)
endif()

# trireme_cuda_objects(VARIABLE FILES...): compiles .cu files of the calling folder; gives their objects.
function(trireme_cuda_objects VARIABLE)
  foreach(file ${ARGN})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${file}.o)
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(
      OUTPUT ${object} DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} DEPFILE ${object}.d COMMENT "Building CUDA object ${file}"
      COMMAND sh -c "\"$@\" 2>${object}.ptxas || { cat ${object}.ptxas >&2; exit 1; }" nvcc
              ${TRIREME_NVCC_LAUNCHER} ${TRIREME_NVCC} ${TRIREME_NVCC_FLAGS} -MD -MF ${object}.d
              -c ${CMAKE_CURRENT_SOURCE_DIR}/${file} -o ${object}
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(${VARIABLE} ${objects} PARENT_SCOPE)
endfunction()
