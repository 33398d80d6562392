# SPDX-License-Identifier: MIT
# Makes C arrays of the migrations, so that a program carries its own schema.
#
# Included, it gives executr_embed_sql(OUT DIRECTORY FILES…): OUT is a C file
# that defines ex_migrations_<kind>[] and ex_migrations_<kind>_count (declared
# in lib/store.h) for the kinds postgres and sqlite. Files are named
# <kind>/NNN_name.sql relative to DIRECTORY; each kind counts from 001 without
# a gap. Run as a script (cmake -P), it writes that file.

if(NOT CMAKE_SCRIPT_MODE_FILE)
    set(executr_embed_script ${CMAKE_CURRENT_LIST_FILE})

    function(executr_embed_sql out directory)
        set(output ${CMAKE_CURRENT_BINARY_DIR}/migrations.c)
        list(TRANSFORM ARGN PREPEND ${directory}/ OUTPUT_VARIABLE files)
        list(JOIN ARGN "," names)
        add_custom_command(OUTPUT ${output}
            COMMAND ${CMAKE_COMMAND} -D "DIRECTORY=${directory}"
                -D "NAMES=${names}" -D "OUTPUT=${output}"
                -P ${executr_embed_script}
            DEPENDS ${files} ${executr_embed_script}
            COMMENT "Embedding migrations" VERBATIM)
        set(${out} ${output} PARENT_SCOPE)
    endfunction()
    return()
endif()

string(REPLACE "," ";" NAMES "${NAMES}")
list(SORT NAMES)
set(text "/* Made from lib/store/sql at build time; not to be edited. */\n")
string(APPEND text "#include \"store.h\"\n")
foreach(kind postgres sqlite)
    set(count 0)
    set(rows)
    foreach(name ${NAMES})
        if(NOT name MATCHES "^${kind}/")
            continue()
        endif()
        math(EXPR count "${count} + 1")
        if(NOT name MATCHES "/0*([1-9][0-9]*)_([a-z0-9_]+)\\.sql$"
           OR NOT CMAKE_MATCH_1 EQUAL count)
            message(FATAL_ERROR "${name}: migration ${count} of ${kind} should"
                " stand here, named NNN_name.sql")
        endif()
        set(title ${CMAKE_MATCH_2})
        set(array ${kind}_${count})
        file(READ ${DIRECTORY}/${name} bytes HEX)
        string(REGEX REPLACE
            "(................................)" "\\1\n" bytes "${bytes}")
        string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes
            "${bytes}")
        string(APPEND text
            "\nstatic const char ${array}[] = {\n${bytes}0};\n")
        string(APPEND rows "    {${count}, \"${title}\", ${array}},\n")
    endforeach()
    # The row behind the last one keeps an empty table valid C.
    string(APPEND text "\nconst ex_migration ex_migrations_${kind}[] = {\n"
        "${rows}    {0, NULL, NULL}};\n"
        "const size_t ex_migrations_${kind}_count = ${count};\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
